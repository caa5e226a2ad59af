"""How an image is shown to a network: whole, in windows, at several scales, mirrored."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segexport.errors import ContractError
from segexport.spec import MIN_SIDE, Size, format_size


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate, the same for PyTorch and for every engine. Sizes are (height, width).

    Attributes:
        size: the network's input for whole images; a checkpoint's processor or the bundle says so if None.
        window: the crop of a sliding window; None shows whole images.
        stride: rows and columns from one window to the next; three quarters of the window if None, as
            mmsegmentation's 768 of 1024 for Cityscapes.
        short_side: scale images to this shorter side first, keeping their aspect (512 for ADE20K).
        scales: views of an image relative to its size; their softmax is averaged.
        flip: add the mirror image of every view.

    Raises:
        ContractError: sizes that contradict each other, or cannot be served.
    """

    size: Size | None = None
    window: Size | None = None
    stride: Size | None = None
    short_side: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if self.size and self.window:
            raise ContractError("a window is the network's input: pass either a size or a window, not both")
        if self.size and self.short_side:
            raise ContractError("a size stretches the image, a short side keeps its aspect: pass one of them")
        if self.stride and not self.window:
            raise ContractError("a stride is that of a window: pass a window too")
        for what, size in (("size", self.size), ("window", self.window)):
            if size and min(size) < MIN_SIDE:
                raise ContractError(f"{what} {format_size(size)} is too small: give at least {MIN_SIDE}x{MIN_SIDE}")
        if self.window and self.stride and not all(1 <= s <= w for s, w in zip(self.stride, self.window, strict=True)):
            raise ContractError(
                f"a stride of {format_size(self.stride)} leaves gaps between windows of {format_size(self.window)} or "
                "goes nowhere: give 1 up to the window's height and width"
            )
        if self.short_side is not None and self.short_side < MIN_SIDE:
            raise ContractError(f"short side {self.short_side} is too small: give at least {MIN_SIDE}")
        if not self.scales or not all(math.isfinite(s) and s > 0 for s in self.scales):
            raise ContractError(f"scales {self.scales} cannot be served: give one or more, each above 0")
        if len(set(self.scales)) < len(self.scales):
            raise ContractError(f"scales {self.scales} name one twice: give each once")

    @property
    def steps(self) -> Size | None:
        """The stride, three quarters of the window where none was given; None without a window."""
        if self.window is None:
            return None
        return self.stride or (self.window[0] * 3 // 4, self.window[1] * 3 // 4)

    @property
    def plain(self) -> bool:
        """Whether an image is shown once and whole, as `bench` and every program that uses a bundle shows it."""
        return self.window is None and self.short_side is None and self.scales == (1.0,) and not self.flip

    def __str__(self) -> str:
        parts = ["whole image" if self.window is None else f"windows of {format_size(self.window)}"]
        if self.steps:
            parts.append(f"stride {format_size(self.steps)}")
        if self.size:
            parts.append(f"size {format_size(self.size)}")
        if self.short_side:
            parts.append(f"short side {self.short_side}")
        if self.scales != (1.0,):
            parts.append("scales " + " ".join(f"{s:g}" for s in self.scales))
        if self.flip:
            parts.append("flip")
        return ", ".join(parts)
