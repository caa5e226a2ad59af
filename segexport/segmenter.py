"""A bundle as a program uses it: images of any size in, class maps of the images' own sizes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from segexport import machine, native
from segexport.bundle import Bundle, open_bundle
from segexport.decision import decision
from segexport.engines import Outputs, Runner, open_runner
from segexport.engines.base import as_batch, in_order
from segexport.errors import ContractError
from segexport.images import UInt8, read_image, resize_image, resize_nearest, rgb_of
from segexport.prediction import Float32, Pixels, Prediction, require_channel_order, require_pixels, softmax_of_winner
from segexport.spec import ChannelOrder, Labels

ImageLike = str | Path | Image.Image | npt.NDArray[Any]
"""A file, a Pillow image, or raw pixels uint8 [H, W, 3]; arrays of another dtype are refused when they are run."""


class Segmenter:
    """A bundle ready to run. Use it as a context manager, from one thread at a time; opening several is fine."""

    def __init__(
        self, bundle: Bundle, runner: Runner, *, threads: int | None = None, channel_order: ChannelOrder | None = None
    ) -> None:
        """Args: the bundle; it on its engine; CPU threads for confidences; what order arrays have, see `run`."""
        require_channel_order(channel_order)
        self.bundle = bundle
        self.runner = runner
        self.channel_order = channel_order
        self._threads = threads or machine.cores()

    @property
    def labels(self) -> Labels:
        """Class names and colours."""
        return self.bundle.manifest.labels

    @overload  # a str is an Iterable of str too, and taken by the first
    def run(  # type: ignore[overload-overlap]
        self, image: ImageLike, *, channel_order: ChannelOrder | None = None
    ) -> Prediction: ...

    @overload
    def run(self, image: Iterable[ImageLike], *, channel_order: ChannelOrder | None = None) -> list[Prediction]: ...

    def run(
        self, image: ImageLike | Iterable[ImageLike], *, channel_order: ChannelOrder | None = None
    ) -> Prediction | list[Prediction]:
        """Segment (or classify) one image, or several.

        Args:
            image: a file, a Pillow image, or raw pixels uint8 [H, W, 3]. An image of another size than the bundle's is
                resized by Pillow as the checkpoint's processor does, and its class map brought back to the image's
                size by nearest neighbour. Or several of them, of any sizes: a list, or an array [N, H, W, 3] (which
                type checkers take for one image: pass `list(array)`).
            channel_order: `rgb` or `bgr`, the order of the channels of arrays, which are turned where the bundle's is
                another. None is what the segmenter was opened with; without that, arrays are in the bundle's own
                order, RGB unless it was built with `--channel-order bgr`. **A frame of OpenCV is `bgr`.** Files and
                Pillow images are RGB, and not to be given an order.

        Returns:
            What was seen in the image; of several a list in their order. Several are run together, as many in a call
            as the bundle's batch says, or where that is open `segexport.engines.base.OPEN_BATCH_PIXELS` hold. What is
            missing from a fixed batch is filled with the last image.

        Raises:
            DataError: a file is no image, or has 16 bits a channel.
            ContractError: an array is not uint8 [H, W, 3], there is no such channel order, or one was given with a
                file or a Pillow image.
        """
        require_channel_order(channel_order)
        if isinstance(image, str | Path | Image.Image) or (isinstance(image, np.ndarray) and image.ndim != 4):
            return self._run([self._read(image, channel_order, "the image")])[0]
        if not isinstance(image, Iterable):
            raise ContractError(f"a {type(image).__name__} is no image: {_PASS}")
        images = list(image)
        found = []
        for start in range(0, len(images), self.runner.batch):
            together = enumerate(images[start : start + self.runner.batch], start)
            found += self._run([self._read(one, channel_order, f"image {i}") for i, one in together])
        return found

    def from_rgb(self, rgb: UInt8) -> UInt8:
        """uint8 [H, W, 3] RGB in the bundle's channel order, as `prepare` takes it."""
        return in_order(rgb, self.runner.contract)

    def prepare(self, pixels: UInt8) -> UInt8:
        """Pixels in the bundle's channel order as uint8 [N, h, w, 3]: resized, and repeated to fill a batch."""
        contract = self.runner.contract
        return as_batch(
            resize_image(pixels, contract.image_size, self.bundle.manifest.preprocessing.resample), contract
        )

    def finish(self, outputs: Outputs, pixels: UInt8) -> Prediction:
        """What the runner just put out for `prepare(pixels)`, as a Prediction."""
        return self._finish(outputs, [Pixels(pixels, self.runner.contract.channel_order)])[0]

    def close(self) -> None:
        """Free the engine."""
        self.runner.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, image: object, channel_order: ChannelOrder | None, name: str) -> Pixels:
        """One image in memory, as it came; `name` is for messages."""
        if isinstance(image, np.ndarray):
            order = channel_order or self.channel_order or self.runner.contract.channel_order
            return Pixels(require_pixels(image, name), order)
        if not isinstance(image, str | Path | Image.Image):
            raise ContractError(f"{name} is a {type(image).__name__}: {_PASS}")
        if channel_order is not None:
            raise ContractError(f"{name} is no array, and files and Pillow images are RGB: leave out channel_order")
        return Pixels(rgb_of(image, name) if isinstance(image, Image.Image) else read_image(Path(image)), "rgb")

    def _run(self, images: list[Pixels]) -> list[Prediction]:
        """As many images as one call takes, or fewer."""
        contract = self.runner.contract
        resample = self.bundle.manifest.preprocessing.resample
        batch = [
            in_order(resize_image(one.array, contract.image_size, resample), contract, one.channel_order)
            for one in images
        ]
        batch += batch[-1:] * (contract.batch - len(batch))  # nothing where the batch is open
        return self._finish(self.runner.run(batch[0][None] if len(batch) == 1 else np.stack(batch)), images)

    def _finish(self, outputs: Outputs, images: list[Pixels]) -> list[Prediction]:
        """The outputs of the runner's last call, whose first images these were, in the images' sizes."""
        logits = self.runner.keep_logits()
        return [self._prediction(outputs, logits, index, image) for index, image in enumerate(images)]

    def _prediction(self, outputs: Outputs, logits: Float32 | None, index: int, image: Pixels) -> Prediction:
        found = decision(outputs, index)
        own = {name: value[index] for name, value in outputs.items()}
        return Prediction(
            resize_nearest(found, image.size) if found.ndim == 2 else found,
            self.labels,
            image=image,
            outputs=own,
            soften=self._soften(own, None if logits is None else logits[index : index + 1]),
        )

    def _soften(self, own: Outputs, logits: Float32 | None) -> Callable[[], Float32] | None:
        """What computes the confidence, [h, w] in the contract's mask size; None where it cannot be had."""
        size, threads = self.runner.contract.mask_size, self._threads
        if "confidence" in own:
            return lambda: own["confidence"]
        if "logits" in own:
            return partial(softmax_of_winner, own["logits"])
        if logits is None or size is None:
            return None
        return lambda: native.confidence(logits, size, threads)[0]


_PASS = "pass a file, a Pillow image or uint8 pixels [H, W, 3], or a list of them"


def open_segmenter(
    bundle: str | Path | Bundle,
    *,
    threads: int | None = None,
    device: str | None = None,
    channel_order: ChannelOrder | None = None,
) -> Segmenter:
    """Open a bundle on the engine it was built for.

    Args:
        bundle: the folder `segexport build` wrote, or a bundle already opened.
        threads: CPU threads; the engine's own default if None.
        device: an OpenVINO device other than the one the bundle was built for.
        channel_order: `rgb` or `bgr`, the order of the channels of the arrays that will be run (OpenCV's is `bgr`);
            the bundle's own if None. Files and Pillow images are RGB whatever it is.

    Raises:
        BundleCorrupt: a file of the bundle is missing or changed.
        ContractError: there is no such channel order.
        EngineUnavailable: the engine is not installed; the message names the command that installs it.
    """
    require_channel_order(channel_order)
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    runner = open_runner(opened, threads=threads, device=device)
    return Segmenter(opened, runner, threads=threads, channel_order=channel_order)
