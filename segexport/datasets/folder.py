"""A folder of `images/` and `masks/`, the splits above them (`train/images`) or below (`images/train`).

What the values of its masks mean is the label set's matter: `Labels.reduce` says whether they count from 1.
"""

from __future__ import annotations

from pathlib import Path

from segexport.datasets.layout import Layout, Split, folders, holds_images, subfolders

IMAGES, MASKS = "images", "masks"


def find(path: Path) -> Layout | None:
    """`images/NAME.jpg` pairs with `masks/NAME.png`, whatever the extensions."""
    images, masks = path / IMAGES, path / MASKS
    if images.is_dir():
        below = [] if holds_images(images) else [n for n in subfolders(images) if holds_images(images / n)]
        if below:
            return Layout("a folder of images/ and masks/", path, {n: _split(images / n, masks / n) for n in below})
        return Layout("a folder of images/ and masks/", path, {"": _split(images, masks, path)})
    above = [name for name in subfolders(path) if (path / name / IMAGES).is_dir()]
    if not above:
        return None
    splits = {name: _split(path / name / IMAGES, path / name / MASKS, path / name) for name in above}
    return Layout("a folder of images/ and masks/", path, splits)


def images_alone(path: Path) -> Layout | None:
    """A folder of images, without masks."""
    if not path.is_dir() or not holds_images(path):
        return None
    return Layout("a folder of images", path, {"": _split(path, path / MASKS, path)})


def _split(images: Path, masks: Path, folder: Path | None = None) -> Split:
    return Split(images, masks, folders(images, masks), folder)
