"""What an engine saw in one image, as a program reads it, shows it and keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt

from segexport.decision import Decision
from segexport.engines import Outputs
from segexport.errors import ContractError, OutputError
from segexport.files import write_file
from segexport.images import IMAGE_SUFFIXES, UInt8, encode_png, overlay, resize_nearest
from segexport.spec import ChannelOrder, Labels, Size, format_size

Float32 = npt.NDArray[np.float32]


class Pixels(NamedTuple):
    """An image in memory: uint8 [H, W, 3], and the order of its channels."""

    array: UInt8
    channel_order: ChannelOrder

    def ordered(self, wanted: ChannelOrder) -> UInt8:
        """The same pixels with the channels in the `wanted` order; a view."""
        return self.array if self.channel_order == wanted else self.array[..., ::-1]

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.array.shape[0], self.array.shape[1]


class Prediction:
    """What an engine saw in one image.

    Which attributes there are follows from the bundle. Each is an array; reading one that the bundle does not give
    raises a ContractError, which names the build that gives it.

    A result refers to its image, and to what its confidence is computed from: of many images, keep the attributes.
    """

    def __init__(
        self,
        decision: Decision,
        labels: Labels,
        *,
        image: Pixels,
        outputs: Outputs,
        soften: Callable[[], Float32] | None = None,
    ) -> None:
        """Args: what was decided, in the image's size; class names; the image and its outputs; its confidence."""
        self.labels = labels
        self.decision = decision
        """`mask`, or a classifier's `classes`."""
        self._image = image
        self._outputs = outputs
        self._soften = soften

    @property
    def mask(self) -> UInt8:
        """uint8 [H, W]: class ids in the image's own size.

        Raises:
            ContractError: the bundle is an image classifier.
        """
        if self.decision.ndim != 2:
            raise ContractError("an image classifier has no class map: read classes, its best ones")
        return self.decision

    @cached_property
    def confidence(self) -> Float32:
        """float32 [H, W]: the softmax of each pixel's class, in the image's own size, from 1 / classes to 1.

        Computed when it is first read, at the bundle's mask size, and brought to the image's by nearest neighbour, as
        the class map is. Bundles of `--output scores` and `logits` have it, and CPU engines' whose class map is made
        behind the graph: all of `--output mask` but those built with `--no-rewrites`, or without a C++ compiler.

        Raises:
            ContractError: the bundle is an image classifier, or its engine gives class ids alone.
        """
        height, width = self.mask.shape
        if self._soften is None:
            raise ContractError("this bundle's engine gives class ids alone: build it with --output scores")
        found: Float32 = resize_nearest(self._soften(), (height, width))
        self._soften = None  # and with it the logits
        return found

    @property
    def logits(self) -> Float32:
        """float32 [classes, h, w] in the bundle's mask size, or [classes] of a classifier.

        Raises:
            ContractError: the bundle was not built with `--output logits`.
        """
        return self._output("logits", "build it with --output logits")

    @property
    def classes(self) -> npt.NDArray[np.int32]:
        """int32 [k]: an image classifier's best classes, best first.

        Raises:
            ContractError: the bundle is no image classifier.
        """
        if self.decision.ndim != 1:
            raise ContractError("a segmentation bundle has no best classes of its image: read mask")
        return self.decision

    @property
    def scores(self) -> Float32:
        """float32 [k]: the softmax of `classes`.

        Raises:
            ContractError: the bundle is no image classifier, or was built with `--output logits`.
        """
        return self._output(
            "scores", "read confidence" if self.decision.ndim == 2 else "build it with --output topk, or read logits"
        )

    def overlay(
        self, image: UInt8 | None = None, opacity: float = 0.5, *, channel_order: ChannelOrder = "rgb"
    ) -> UInt8:
        """The class map's colours laid over the image.

        Args:
            image: uint8 [H, W, 3] to lay them over, in `channel_order`; the image that was segmented if None. Of an
                array that is the array itself: call this before you write the next frame into it.
            opacity: of the colours, from 0 to 1.
            channel_order: of what is returned; `bgr` is what OpenCV shows and writes.

        Returns:
            uint8 [H, W, 3].

        Raises:
            ContractError: the bundle is an image classifier, `image` is not of the class map's size, or there is no
                such channel order.
        """
        mask = self.mask
        require_channel_order(channel_order)
        shown = self._image if image is None else Pixels(require_pixels(image, "the image"), channel_order)
        if shown.size != mask.shape:
            raise ContractError(
                f"the image is {format_size(shown.size)}, the class map {mask.shape[0]}x{mask.shape[1]}: "
                "pass the image that was segmented, or none"
            )
        laid = overlay(shown.ordered("rgb"), mask, self.labels.palette, opacity)
        return np.ascontiguousarray(Pixels(laid, "rgb").ordered(channel_order))

    def save(self, name: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write `NAME_mask.png` (a palette PNG of class ids) and `NAME_overlay.png`, as `segexport predict` does.

        Of an image classifier `NAME_classes.json` is written instead.

        Args:
            name: folder and beginning of the names: `out/street` writes `out/street_mask.png`. Folders are made.
            overwrite: whether files that exist are replaced.

        Returns:
            The files written.

        Raises:
            OutputError: `name` is a folder or ends as an image file does, a file exists and `overwrite` is off, or it
                cannot be written.
        """
        name = Path(name)
        if name.suffix.lower() in IMAGE_SUFFIXES:
            raise OutputError(f"save writes several files, such as {name.stem}_mask.png: pass {name.with_suffix('')}")
        if name.is_dir():
            raise OutputError(f"{name} is a folder: pass a name in it, such as {name / 'street'}")
        files = dict(self.files(name))
        for path in files:
            if path.exists() and not overwrite:
                raise OutputError(f"{path} exists: pass overwrite=True to replace it, or another name")
        for path, data in files.items():
            write_file(path, data)
        return tuple(files)

    def files(self, name: Path) -> Iterator[tuple[Path, bytes]]:
        """Each file that `save` writes, and what is in it."""
        if self.decision.ndim != 2:
            yield _named(name, "classes.json"), self._classes_json()
            return
        yield _named(name, "mask.png"), encode_png(self.mask, self.labels.palette)
        yield _named(name, "overlay.png"), encode_png(self.overlay())

    def _classes_json(self) -> bytes:
        ids = self.classes.tolist()
        scores = self._outputs["scores"].tolist() if "scores" in self._outputs else [None] * len(ids)
        rows = [{"id": i, "name": self.labels.names[i], "score": s} for i, s in zip(ids, scores, strict=True)]
        return (json.dumps(rows, indent=2) + "\n").encode()

    def _output(self, name: str, remedy: str) -> Float32:
        if name not in self._outputs:
            raise ContractError(f"this bundle gives no {name}: {remedy}")
        return self._outputs[name]


def softmax_of_winner(logits: Float32) -> Float32:
    """float32 [...]: of logits [classes, ...], the softmax of the largest."""
    most = logits.max(0)
    total = np.zeros_like(most)
    for one in logits:  # one class at a time: all at once would take the logits' memory again
        total += np.exp(one - most)
    return cast(Float32, 1 / total)


def require_pixels(image: npt.NDArray[np.generic], name: str) -> UInt8:
    """The image, if it is one in memory.

    Raises:
        ContractError: it is not uint8 [H, W, 3], or has no pixel; the message begins with `name`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ContractError(
            f"{name} is {image.dtype} {list(image.shape)}: pass uint8 [H, W, 3], raw pixels from 0 to 255"
        )
    return cast(UInt8, image)


def require_channel_order(order: str | None) -> None:
    """Refuse what is no channel order; None is let pass.

    Raises:
        ContractError: neither `rgb` nor `bgr`.
    """
    if order not in (None, *get_args(ChannelOrder)):
        raise ContractError(f"channel order {order!r} is unknown: pass {' or '.join(get_args(ChannelOrder))}")


def _named(name: Path, ending: str) -> Path:
    return name.with_name(f"{name.name}_{ending}")
