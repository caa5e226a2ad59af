"""A bundle as a program uses it: an image of any size in, a class map of the image's own size out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from PIL import Image

from segexport.bundle import Bundle, open_bundle
from segexport.decision import decision
from segexport.engines import Outputs, Runner, open_runner
from segexport.engines.base import as_batch, in_order
from segexport.errors import ContractError
from segexport.images import UInt8, overlay, read_image, resize_image, resize_nearest, rgb_of
from segexport.spec import Labels, Size

ImageLike = str | Path | Image.Image | UInt8


@dataclass(frozen=True)
class Prediction:
    """What an engine saw in one image. Which fields are set follows from the bundle's output.

    Attributes:
        mask: uint8 [H, W] class ids in the image's own size (outputs mask, scores, logits of segmentation).
        confidence: float32 [H, W], softmax of the winning class (output scores).
        logits: float32 [classes, h, w] in the contract's size, or [classes] of a classifier (output logits).
        classes: int32 [k], best first (classification).
        scores: float32 [k], softmax of those classes (output topk).
    """

    labels: Labels
    mask: UInt8 | None = None
    confidence: npt.NDArray[np.float32] | None = None
    logits: npt.NDArray[np.float32] | None = None
    classes: npt.NDArray[np.int32] | None = None
    scores: npt.NDArray[np.float32] | None = None

    def overlay(self, image: UInt8, opacity: float = 0.5) -> UInt8:
        """uint8 [H, W, 3]: the class map's colours over the RGB image it was computed from.

        Raises:
            ContractError: the bundle is a classifier and has no class map.
        """
        if self.mask is None:
            raise ContractError("a classifier has no class map to lay over its image")
        return overlay(image, self.mask, self.labels.palette, opacity)


class Segmenter:
    """A bundle ready to run. Use it as a context manager, from one thread at a time; opening several is fine."""

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        self.bundle = bundle
        self.runner = runner

    @property
    def labels(self) -> Labels:
        """Class names and colours."""
        return self.bundle.manifest.labels

    def run(self, image: ImageLike) -> Prediction:
        """Segment (or classify) one image.

        Args:
            image: a file, a Pillow image, or raw pixels uint8 [H, W, 3] in the bundle's channel order. An image of
                another size than the bundle's is resized by Pillow as the checkpoint's processor does, and its
                class map brought back to the image's size by nearest neighbour.

        Raises:
            DataError: the file is no image, or has 16 bits a channel.
            ContractError: the array is not uint8 [H, W, 3].
        """
        pixels = self.pixels(image)
        outputs = self.runner.run(self.prepare(pixels))
        return self.finish(outputs, (pixels.shape[0], pixels.shape[1]))

    def pixels(self, image: ImageLike) -> UInt8:
        """Whatever names an image, as uint8 [H, W, 3] in the bundle's channel order."""
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ContractError(f"an image is uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
            return image
        rgb = rgb_of(image, "the image") if isinstance(image, Image.Image) else read_image(Path(image))
        return self.from_rgb(rgb)

    def from_rgb(self, rgb: UInt8) -> UInt8:
        """uint8 [H, W, 3] RGB in the bundle's channel order."""
        return in_order(rgb, self.runner.contract)

    def prepare(self, pixels: UInt8) -> UInt8:
        """uint8 [N, h, w, 3] for the runner: resized where needed, repeated to fill a fixed batch."""
        contract = self.runner.contract
        resample = self.bundle.manifest.preprocessing.resample
        return as_batch(resize_image(pixels, contract.image_size, resample), contract)

    def finish(self, outputs: Outputs, size: Size) -> Prediction:
        """The first image's outputs as a Prediction for an image of `size`."""
        first = {name: value[0] for name, value in outputs.items()}
        found = decision(outputs)
        is_map = found.ndim == 2
        return Prediction(
            labels=self.labels,
            mask=resize_nearest(found, size) if is_map else None,
            confidence=resize_nearest(first["confidence"], size) if "confidence" in first else None,
            logits=first.get("logits"),
            classes=None if is_map else found,
            scores=first.get("scores"),
        )

    def close(self) -> None:
        """Free the engine."""
        self.runner.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_segmenter(bundle: str | Path | Bundle, *, threads: int | None = None, device: str | None = None) -> Segmenter:
    """Open a bundle on the engine it was built for.

    Args:
        bundle: the folder `segexport build` wrote, or a bundle already opened.
        threads: CPU threads; the engine's own default if None.
        device: an OpenVINO device other than the one the bundle was built for.

    Raises:
        BundleCorrupt: a file of the bundle is missing or changed.
        EngineUnavailable: the engine is not installed; the message names the command that installs it.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    return Segmenter(opened, open_runner(opened, threads=threads, device=device))
