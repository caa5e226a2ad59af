"""Sliding windows: crops of the network's size all over an image, whose logits are averaged where they overlap.

As mmsegmentation's `EncoderDecoder.slide_inference` (mode="slide" of its SegFormer configurations: for Cityscapes crops
of 1024x1024 every 768 pixels): the last window of a row or column is moved back to the image's edge.

One thing differs: an image smaller than the crop is shown there as it is, which an engine of a fixed size cannot do.
Here it stands in the crop's upper left corner, for PyTorch and engines alike, and the rest has the colour that
normalisation brings nearest to zero, which is how training crops are padded.
"""

from __future__ import annotations

import numpy as np

from segexport.evaluation.network import Network
from segexport.evaluation.upsample import Floats32, bands
from segexport.images import UInt8
from segexport.spec import Preprocessing, Size


def starts(side: int, crop: int, stride: int) -> list[int]:
    """Where windows of `crop` pixels begin along a side, in order; [0] where the side is no longer than that."""
    count = max(side - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride, side - crop), 0) for index in range(count)]


def padding_colour(preprocessing: Preprocessing) -> UInt8:
    """uint8 [3] RGB: the pixel that preprocessing brings nearest to zero."""
    if not preprocessing.do_normalize:
        return np.zeros(3, np.uint8)
    scale = preprocessing.rescale_factor if preprocessing.do_rescale else 1.0
    return np.clip(np.rint(np.array(preprocessing.mean) / scale), 0, 255).astype(np.uint8)


def slide(network: Network, image: UInt8, crop: Size, stride: Size, colour: UInt8) -> Floats32:
    """Mean logits of all windows, float32 [classes, H, W].

    Args:
        network: takes images of `crop`'s size.
        image: uint8 [H, W, 3] RGB.
        crop: height and width of a window.
        stride: rows and columns from one to the next, 1 up to the crop's.
        colour: uint8 [3], what is put below and right of an image smaller than the crop.
    """
    height, width = image.shape[:2]
    rows, columns = starts(height, crop[0], stride[0]), starts(width, crop[1], stride[1])
    corners = [(y, x) for y in rows for x in columns]
    padded = _padded(image, crop, colour)
    total: Floats32 | None = None
    for first in range(0, len(corners), network.batch):
        group = corners[first : first + network.batch]
        made = network.logits(np.stack([padded[y : y + crop[0], x : x + crop[1]] for y, x in group]))
        if total is None:
            total = np.zeros((made.shape[1], height, width), np.float32)
        for (y, x), logits in zip(group, made, strict=True):
            _add(total[:, y : y + crop[0], x : x + crop[1]], logits, crop)
    assert total is not None
    total /= _shown(height, rows, crop[0])[:, None] * _shown(width, columns, crop[1])
    return total


def _add(place: Floats32, logits: Floats32, crop: Size) -> None:
    """Add the logits at the crop's size, but for what lies beyond the image."""
    height, width = place.shape[1:]
    for rows, band in bands(logits, crop):
        if rows.start >= height:
            break
        place[:, rows] += band[:, : height - rows.start, :width]


def _padded(image: UInt8, crop: Size, colour: UInt8) -> UInt8:
    height, width = image.shape[:2]
    if height >= crop[0] and width >= crop[1]:
        return image
    padded = np.empty((max(height, crop[0]), max(width, crop[1]), 3), np.uint8)
    padded[:] = colour
    padded[:height, :width] = image
    return padded


def _shown(side: int, begins: list[int], crop: int) -> Floats32:
    """How many windows show each row (or column), float32 [side]."""
    counts = np.zeros(side, np.float32)
    for begin in begins:
        counts[begin : begin + crop] += 1
    return counts
