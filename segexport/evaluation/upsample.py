"""Bilinear upsampling of logits as torch.nn.functional.interpolate(mode="bilinear", align_corners=False) does it.

In numpy, since an engine's logits have to be upsampled where there is no torch, and in bands of rows, since the logits
of one image at full size are hundreds of megabytes. The order of the corners is torch's (and class_map.hpp's).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from segexport.images import UInt8
from segexport.spec import Size

Floats32 = npt.NDArray[np.float32]

BAND = 64
"""Rows made at once."""

_ONE = np.float32(1)


def upsample(logits: Floats32, size: Size) -> Floats32:
    """float32 [classes, h, w] to [classes, *size]."""
    made = np.empty((len(logits), *size), np.float32)
    for rows, band in bands(logits, size):
        made[:, rows] = band
    return made


def bands(logits: Floats32, size: Size) -> Iterator[tuple[slice, Floats32]]:
    """The rows of `upsample(logits, size)`, some at a time: which, and float32 [classes, rows, width], to be read."""
    height, width = logits.shape[1:]
    if (height, width) == size:
        for rows in _bands(height):
            yield rows, logits[:, rows]
        return
    top, bottom, down = _sources(height, size[0])
    left, right, across = _sources(width, size[1])
    for rows in _bands(size[0]):
        first, last = top[rows][0], bottom[rows][-1]
        near = logits[:, first : last + 1]
        wide = near[..., left] * (_ONE - across) + near[..., right] * across
        below = down[rows, None]
        yield rows, wide[:, top[rows] - first] * (_ONE - below) + wide[:, bottom[rows] - first] * below


def class_map(logits: Floats32, size: Size) -> UInt8:
    """uint8 [*size]: the class of the largest upsampled logit of float32 [classes, h, w], ties to the lowest id."""
    found = np.zeros(size, np.uint8)
    for rows, band in bands(logits, size):
        best = band[0].copy()
        for index in range(1, len(band)):  # argmax over the first axis, which numpy's own walks in its worst order
            better = band[index] > best
            found[rows][better] = index
            np.maximum(best, band[index], out=best)
    return found


def add_softmax(total: Floats32, logits: Floats32) -> None:
    """Add the softmax of `logits`, float32 [classes, h, w], upsampled to `total`'s size, to float32 [classes, H, W]."""
    for rows, band in bands(logits, (total.shape[1], total.shape[2])):
        odds = np.exp(band - band.max(0))
        odds /= odds.sum(0)
        total[:, rows] += odds


def _bands(height: int) -> Iterator[slice]:
    for start in range(0, height, BAND):
        yield slice(start, min(start + BAND, height))


def _sources(count: int, out: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats32]:
    """Of each of `out` samples: its lower and upper source index among `count`, and the weight of the upper one."""
    scale = np.float32(count) / np.float32(out)
    # In float32 with one rounding, as the fused multiply-add of torch's compiled loop.
    at = np.maximum((np.float64(scale) * (np.arange(out) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    low = np.minimum(at.astype(np.intp), count - 1)
    return low, np.minimum(low + 1, count - 1), (at - low.astype(np.float32)).astype(np.float32)
