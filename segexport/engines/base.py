"""The small surface every engine has: facts about itself, and a `Runner`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.errors import ContractError
from segexport.images import UInt8
from segexport.spec import DYNAMIC, ChannelOrder, Contract, Precision

Outputs = dict[str, npt.NDArray[Any]]
"""A contract's outputs by name; see `segexport.spec.Contract`."""

OPEN_BATCH_PIXELS = 4 * 512 * 512
"""Of all images in one call where the batch is open: memory grows with them, by about 100 MB for each 512x512 in B0."""


@dataclass(frozen=True)
class EngineInfo:
    """What `segexport engines` shows: `version` is None when the package is not installed."""

    name: str
    version: str | None
    devices: tuple[str, ...]
    install: str
    builds: bool
    """Whether `segexport build` makes bundles for it; PyTorch is the reference only."""
    precisions: tuple[Precision, ...] = ("fp32",)
    """What it can compute in on this machine."""
    missing: str = ""
    """Why it cannot run here, and the remedy; empty where it can. It then has no devices."""
    builds_anywhere: bool = False
    """Whether it builds without a device to run on."""


class Runner(ABC):
    """An engine ready to run, used as a context manager and by one thread at a time; several may be open.

    `run` is `stage`, `execute`, `fetch` in a row: inputs handed over, the network computed, outputs handed back, so
    that copies and compute can be timed apart.
    """

    contract: Contract
    device_seconds: float | None = None
    """Time of the last `execute` by the device's own clock, without copies; None where an engine has no such clock."""

    def run(self, images: UInt8) -> Outputs:
        """Class maps (or what else the contract promises) of raw images.

        Args:
            images: uint8 [N, H, W, 3], contiguous, in the contract's image size and channel order.

        Raises:
            ContractError: another shape or dtype.
        """
        self.stage(images)
        self.execute()
        return self.fetch()

    @property
    def batch(self) -> int:
        """Images to pass in one call: the contract's, or of an open batch as many as `OPEN_BATCH_PIXELS` hold."""
        height, width = self.contract.image_size
        open_batch = self.contract.batch == DYNAMIC
        return max(1, OPEN_BATCH_PIXELS // (height * width)) if open_batch else self.contract.batch

    @abstractmethod
    def stage(self, images: UInt8) -> None:
        """Hand uint8 [N, H, W, 3] to the engine."""

    @abstractmethod
    def execute(self) -> None:
        """Compute; returns when the result is there."""

    @abstractmethod
    def fetch(self) -> Outputs:
        """The outputs of the last `execute`, the caller's to keep."""

    def keep_logits(self) -> npt.NDArray[np.float32] | None:
        """What the last class maps were made of on the host, float32 [N, h, w, classes], the caller's to keep.

        None where an engine makes its class maps itself, or has no class maps.
        """
        return None

    def close(self) -> None:  # noqa: B027  (optional: most engines free themselves)
        """Free what the engine holds."""

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_images(images: UInt8, contract: Contract) -> None:
    """Refuse what the contract does not promise to serve.

    Raises:
        ContractError: dtype is not uint8, or the shape is not [batch, height, width, 3].
    """
    expected = (*contract.image_size, 3)
    check_pixels(images)
    if images.ndim != 4 or images.shape[1:] != expected:
        raise ContractError(f"images have shape {images.shape}: this engine takes [N, {', '.join(map(str, expected))}]")
    if contract.batch not in (DYNAMIC, len(images)):
        raise ContractError(
            f"{len(images)} images at once: this engine takes exactly {contract.batch}; "
            "build with --batch dynamic for any number"
        )


def check_pixels(images: UInt8) -> None:
    """Refuse what are no raw pixels.

    Raises:
        ContractError: dtype is not uint8.
    """
    if images.dtype != np.uint8:
        raise ContractError(f"images are {images.dtype}: pass raw uint8 pixels, 0 to 255; the graph normalises them")


def in_order(pixels: UInt8, contract: Contract, given: ChannelOrder = "rgb") -> UInt8:
    """uint8 [..., 3] of a `given` channel order in the contract's."""
    return pixels if contract.channel_order == given else np.ascontiguousarray(pixels[..., ::-1])


def as_batch(image: UInt8, contract: Contract) -> UInt8:
    """One uint8 [H, W, 3] image as [N, H, W, 3], repeated to fill a fixed batch."""
    count = 1 if contract.batch == DYNAMIC else contract.batch
    return image[None] if count == 1 else np.repeat(image[None], count, axis=0)
