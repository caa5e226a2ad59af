"""From a path to the labelled images in it."""

from __future__ import annotations

from pathlib import Path

from segexport.datasets.base import LabelledImages
from segexport.datasets.folder import FolderImages, files_in
from segexport.datasets.huggingface import HuggingFaceImages
from segexport.errors import DataError
from segexport.spec import Labels


def open_data(path: Path, labels: Labels, *, limit: int | None = None, need_masks: bool = True) -> LabelledImages:
    """Open a data folder.

    Args:
        path: holds `images/` and `masks/` with files of the same stem, or is a folder for `datasets.load_from_disk`;
            where no masks are needed, a folder of images will do.
        labels: the checkpoint's classes, which masks are checked against.
        limit: take the first so many images, by name.
        need_masks: False reads images alone where there are no masks.

    Raises:
        DataError: neither layout, no images, or an image without a mask.
        EngineUnavailable: a Hugging Face data set, and the `datasets` package is not installed.
    """
    if (path / "images").is_dir():
        return FolderImages(path, labels, limit, need_masks)
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return HuggingFaceImages(path, labels, limit, need_masks)
    if not need_masks and path.is_dir() and files_in(path):
        return FolderImages(path, labels, limit, need_masks, folder=path)
    if not path.exists():
        raise DataError(f"{path} does not exist: pass --data with a folder that holds images/ and masks/")
    raise DataError(f"{path} holds neither images/ and masks/ nor a Hugging Face data set (save_to_disk)")
