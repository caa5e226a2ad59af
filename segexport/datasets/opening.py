"""From a path to the labelled images in it."""

from __future__ import annotations

from pathlib import Path

from segexport.datasets import ade20k, camvid, cityscapes, coco, folder, huggingface, panoptic
from segexport.datasets.base import StoredImages
from segexport.datasets.files import open_split
from segexport.datasets.layout import Layout, choose_split, image_files
from segexport.errors import DataError
from segexport.spec import Labels

_LAYOUTS = (cityscapes.find, camvid.find, ade20k.find, coco.find, panoptic.find, folder.find)
"""In this order: what only one data set has goes before what many have."""

_ABOVE = 3
"""How many folders above a split's the data set may begin."""


def open_data(
    path: Path, labels: Labels, *, split: str | None = None, limit: int | None = None, need_masks: bool = True
) -> StoredImages:
    """Open a data set.

    Layouts: `images/` and `masks/` with files of the same stem, splits above or below them; Cityscapes; ADE20K;
    CamVid; COCO-Stuff and COCO panoptic; a folder of `datasets.load_from_disk`; `owner/name` on the Hugging Face hub;
    where no masks are needed, a folder of images. Files are listed, not read.

    Args:
        path: the data set's folder, or one split's folder in it.
        labels: the classes that masks are brought to. A layout that knows what its masks mean decides by itself how ids
            are counted; elsewhere `labels.reduce` does (see `segexport.datasets.numbering`).
        split: which one, by its name or its kind (`train` finds `training` and `train2017`); None takes validation
            where there is one, else test, else the last.
        limit: take the first so many images, by name.
        need_masks: False reads images alone where there are no masks, or masks of other classes in a known layout.

    Raises:
        DataError: no layout, no such split, no images, an image without a mask, or other classes than the layout's.
        EngineUnavailable: a Hugging Face data set, and the `datasets` package is not installed.
    """
    if huggingface.is_saved(path) and not (path / folder.IMAGES).is_dir():
        return huggingface.open_rows(path, labels, split, limit, need_masks)
    layout = find_layout(path, need_masks)
    if layout is not None:
        names = layout.names()
        if split is None and not names:
            return open_split(layout, "", labels, limit, need_masks)
        if not names:
            raise DataError(f"{path} has no splits: leave the split '{split}' out, or pass the folder above it")
        return open_split(layout, choose_split(names, split, str(path)), labels, limit, need_masks)
    if huggingface.is_repository(path) or huggingface.is_hub_name(path):
        return huggingface.open_rows(path, labels, split, limit, need_masks)
    raise not_found(path)


def splits_of(path: Path) -> tuple[str, ...]:
    """Names of the splits of a data set, training first; none for a set that is not divided, or one split's folder.

    Raises:
        DataError: no data set.
        EngineUnavailable: a Hugging Face data set, and the `datasets` package is not installed.
    """
    if is_huggingface(path):
        return tuple(name for name in huggingface.load(path) if name)
    layout = find_layout(path, need_masks=False)
    if layout is None:
        raise not_found(path)
    return layout.names()


def is_huggingface(path: Path) -> bool:
    """Whether `open_data` would read this with the `datasets` package."""
    if huggingface.is_saved(path) and not (path / folder.IMAGES).is_dir():
        return True
    hosted = huggingface.is_repository(path) or huggingface.is_hub_name(path)
    return hosted and find_layout(path, need_masks=False) is None


def find_layout(path: Path, need_masks: bool = True) -> Layout | None:
    """The layout of a data set of files, or of the one that this folder is a split of; None for neither."""
    layout = _layout_at(path)
    if layout is None and not need_masks:
        layout = folder.images_alone(path)
    return layout or _as_split(path)


def not_found(path: Path) -> DataError:
    """What to say where there is no data set."""
    if not path.exists():
        return DataError(f"{path} does not exist: pass --data with a folder that holds images/ and masks/")
    return DataError(
        f"{path} holds neither images/ and masks/ nor a Hugging Face data set (save_to_disk), nor Cityscapes, ADE20K, "
        "CamVid or COCO as they are published: pass the folder that holds one of them"
    )


def _layout_at(path: Path) -> Layout | None:
    if not path.is_dir():
        return None
    return next((layout for find in _LAYOUTS if (layout := find(path)) is not None), None)


def _as_split(path: Path) -> Layout | None:
    """The layout that begins above this folder, with this split alone."""
    if not path.is_dir() or next(image_files(path, recursive=True), None) is None:
        return None
    for above in path.absolute().parents[:_ABOVE]:
        layout = _layout_at(above)
        for split in layout.splits.values() if layout else ():
            if path.resolve() in ((split.folder or split.images).resolve(), split.images.resolve()):
                assert layout is not None
                return Layout(layout.what, path, {"": split}, layout.numbering)
    return None
