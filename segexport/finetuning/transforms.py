"""Augmentation as SegFormer's authors do it, on uint8 images: random resize, crop, flip, photometric jitter.

Source: the training pipelines of NVlabs/SegFormer (`local_configs/_base_/datasets/`), which are mmsegmentation's
Resize, RandomCrop, RandomFlip, PhotoMetricDistortion and Pad. Resizing is Pillow's, as that of SegformerImageProcessor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from segexport.finetuning.recipe import Recipe
from segexport.images import UInt8
from segexport.spec import IGNORE_INDEX, Size

_TRIES = 10
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32, (0.5, 1.5), (0.5, 1.5), 18 / 180


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for each visit of an image.

    Attributes:
        crop: height and width of what is trained on.
        short_side: the image's shorter side before the random resize; None leaves images as large as they are.
        padding: colour of what lies outside the image, the mean that becomes 0 by normalisation.
        recipe: the ranges.
    """

    crop: Size
    short_side: int | None
    padding: tuple[int, int, int]
    recipe: Recipe

    def __call__(self, image: UInt8, mask: UInt8, rng: np.random.Generator, stride: int = 1) -> tuple[UInt8, UInt8]:
        """A random view of an image.

        Args:
            image: uint8 [H, W, 3].
            mask: uint8 [H, W], 255 = ignore.
            rng: all randomness comes from it.
            stride: 2 draws the same view at half the resolution.

        Returns:
            uint8 [h, w, 3] and uint8 [h, w], the crop's size over `stride`.
        """
        height, width = mask.shape
        base = 1.0 if self.short_side is None else self.short_side / min(height, width)
        scale = base * rng.uniform(*self.recipe.scales) / stride
        crop = (max(1, self.crop[0] // stride), max(1, self.crop[1] // stride))
        whole = (max(1, round(height * scale)), max(1, round(width * scale)))
        top, left = self._place(mask, whole, crop, rng)
        view, classes = _cut(image, mask, whole, crop, (top, left))
        if self.recipe.jitter:
            view = jitter(view, rng)
        if rng.random() < self.recipe.flip:
            view, classes = view[:, ::-1], classes[:, ::-1]
        return self._padded(view, classes, crop)

    def _place(self, mask: UInt8, whole: Size, crop: Size, rng: np.random.Generator) -> tuple[int, int]:
        """Top left corner of a crop in which no class has too large a share, if ten tries find one."""
        room = max(0, whole[0] - crop[0]), max(0, whole[1] - crop[1])
        top, left = 0, 0
        for _ in range(_TRIES):
            top, left = int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))
            counts = np.bincount(_mask_at(mask, whole, crop, (top, left)).ravel(), minlength=256)[:IGNORE_INDEX]
            if np.count_nonzero(counts) > 1 and counts.max() < self.recipe.largest_share * counts.sum():
                break
        return top, left

    def _padded(self, image: UInt8, mask: UInt8, crop: Size) -> tuple[UInt8, UInt8]:
        height, width = mask.shape
        if (height, width) == crop:
            return np.ascontiguousarray(image), np.ascontiguousarray(mask)
        full = np.empty((*crop, 3), np.uint8)
        full[:] = self.padding
        classes = np.full(crop, IGNORE_INDEX, np.uint8)
        full[:height, :width], classes[:height, :width] = image, mask
        return full, classes


def jitter(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Photometric distortion, uint8 [H, W, 3] to the same: each change with probability a half.

    Brightness by up to 32, contrast and saturation by factors of 0.5 to 1.5, hue by up to 18 of 180 degrees; contrast
    before or behind the colours (Liu et al. 2016, SSD, as in mmsegmentation's PhotoMetricDistortion).
    """
    chosen = rng.random(5) < 0.5
    offset = rng.uniform(-_BRIGHTNESS, _BRIGHTNESS) if chosen[0] else 0.0
    factor = rng.uniform(*_CONTRAST) if chosen[1] else 1.0
    saturation = rng.uniform(*_SATURATION) if chosen[2] else 1.0
    hue = rng.uniform(-_HUE, _HUE) if chosen[3] else 0.0
    levels = np.arange(256)
    brighter = np.clip(levels + offset, 0, 255)
    steeper = np.clip(levels * factor, 0, 255)
    before = np.rint(steeper[brighter.astype(np.intp)] if chosen[4] else brighter).astype(np.uint8)
    image = before[image]
    if chosen[2] or chosen[3]:
        colours = np.array(Image.fromarray(image).convert("HSV"))
        colours[..., 0] = ((levels + round(hue * 256)) % 256).astype(np.uint8)[colours[..., 0]]
        colours[..., 1] = np.clip(np.rint(levels * saturation), 0, 255).astype(np.uint8)[colours[..., 1]]
        image = np.asarray(Image.fromarray(colours, "HSV").convert("RGB"))
    return image if chosen[4] or not chosen[1] else np.rint(steeper).astype(np.uint8)[image]


def _cut(image: UInt8, mask: UInt8, whole: Size, crop: Size, corner: tuple[int, int]) -> tuple[UInt8, UInt8]:
    """The crop of an image brought to `whole`, without resizing what lies outside it."""
    (height, width), (top, left) = mask.shape, corner
    inner = min(crop[0], whole[0]), min(crop[1], whole[1])
    across, down = width / whole[1], height / whole[0]
    box = (left * across, top * down, min(width, (left + inner[1]) * across), min(height, (top + inner[0]) * down))
    resized = Image.fromarray(image).resize((inner[1], inner[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized), _mask_at(mask, whole, crop, corner)


def _mask_at(mask: UInt8, whole: Size, crop: Size, corner: tuple[int, int]) -> UInt8:
    """The crop of a mask brought to `whole` by nearest neighbour, sampled at pixel centres."""
    picked = []
    for have, want, inner, start in zip(mask.shape, whole, crop, corner, strict=True):
        at = (np.arange(start, start + min(inner, want)) + 0.5) * have / want
        picked.append(np.minimum(at.astype(np.intp), have - 1))
    found: UInt8 = mask[np.ix_(*picked)]
    return found
