"""Labelled images: a folder of `images/` and `masks/`, or a Hugging Face data set saved with `save_to_disk`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from segexport.errors import DataError, EngineUnavailable
from segexport.files import sha256_of
from segexport.images import (
    IMAGE_SUFFIXES,
    UInt8,
    class_ids,
    decode_image,
    decode_mask,
    read_image,
    read_mask,
)
from segexport.spec import Labels
from segexport.weights import INSTALL


@dataclass(frozen=True)
class Sample:
    """One image, uint8 [H, W, 3] RGB, and its class ids, uint8 [H, W] with 255 = ignore (None without masks)."""

    name: str
    image: UInt8
    mask: UInt8 | None


class LabelledImages(Protocol):
    """A sequence of samples, read one at a time."""

    name: str
    """What it is called in a report."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def sample(self, index: int) -> Sample:
        """Read one image and its mask.

        Raises:
            DataError: the image or mask cannot be used; names the file and the value.
        """
        ...

    def sha256(self) -> str:
        """Hash of every name and file, which tells two image sets apart."""
        ...


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
    if not need_masks and path.is_dir() and _files(path):
        return FolderImages(path, labels, limit, need_masks, folder=path)
    if not path.exists():
        raise DataError(f"{path} does not exist: pass --data with a folder that holds images/ and masks/")
    raise DataError(f"{path} holds neither images/ and masks/ nor a Hugging Face data set (save_to_disk)")


class Subset:
    """Some images of a data set, by index."""

    def __init__(self, images: LabelledImages, indices: Sequence[int], what: str) -> None:
        self.name = f"{images.name} ({what})"
        self._images = images
        self._indices = tuple(indices)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        return self._images.sample(self._indices[index])

    def sha256(self) -> str:
        """Hash of the whole set's hash and the indices."""
        return hashlib.sha256(f"{self._images.sha256()} {self._indices}".encode()).hexdigest()


class FolderImages:
    """`images/NAME.jpg` pairs with `masks/NAME.png`, whatever the suffixes."""

    def __init__(
        self, path: Path, labels: Labels, limit: int | None, need_masks: bool, folder: Path | None = None
    ) -> None:
        self.name = str(path)
        self._labels = labels
        folder = folder or path / "images"
        images = _files(folder)
        if not images:
            raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        chosen = sorted(images)[:limit]
        masks = _files(path / "masks") if (path / "masks").is_dir() else {}
        if not masks and need_masks:
            raise DataError(f"{path} holds images but no masks: put one masks/NAME.png beside each images/NAME")
        missing = [name for name in chosen if name not in masks] if masks else []
        if missing:
            raise DataError(f"{images[missing[0]]} has no mask: {path / 'masks' / missing[0]}.png is missing")
        self._files = [(name, images[name], masks.get(name)) for name in chosen]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._files)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        name, image_path, mask_path = self._files[index]
        image = read_image(image_path)
        if mask_path is None:
            return Sample(name, image, None)
        mask = class_ids(read_mask(mask_path), self._labels, str(mask_path), (image.shape[0], image.shape[1]))
        return Sample(name, image, mask)

    def sha256(self) -> str:
        """Hash over the names and bytes of the files used."""
        digest = hashlib.sha256()
        for name, *paths in self._files:
            digest.update(name.encode())
            for path in paths:
                digest.update(sha256_of(path).encode() if path else b"-")
        return digest.hexdigest()


class HuggingFaceImages:
    """A data set with columns `image` and `label` (or `annotation`); of several splits, `validation` or the last."""

    def __init__(self, path: Path, labels: Labels, limit: int | None, need_masks: bool) -> None:
        try:
            import datasets
        except ImportError as error:
            raise EngineUnavailable(f"the datasets package is needed to read {path}: {INSTALL}") from error
        try:
            loaded: Any = datasets.load_from_disk(str(path))
        except Exception as error:
            raise DataError(f"{path} is not a data set that datasets.load_from_disk can read ({error})") from error
        if isinstance(loaded, datasets.DatasetDict):
            loaded = loaded["validation" if "validation" in loaded else list(loaded)[-1]]
        columns = {name: type(feature).__name__ for name, feature in loaded.features.items()}
        label = next((name for name in ("label", "annotation") if columns.get(name) == "Image"), None)
        if columns.get("image") != "Image" or (label is None and need_masks):
            found = ", ".join(f"{name} ({kind})" for name, kind in sorted(columns.items()))
            raise DataError(f"{path} has columns {found}: it needs two of kind Image, image and label (or annotation)")
        self.name = str(path)
        self._path, self._labels = path, labels
        self._columns = ("image",) if label is None else ("image", label)
        # Undecoded, so that the same code reads these images and those of a folder.
        for column in self._columns:
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
        self._rows = loaded.select(range(min(limit or len(loaded), len(loaded))))
        if not len(self._rows):
            raise DataError(f"{path} holds no images")

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        image_bytes, *mask_bytes = self._bytes(index)
        name = f"{self._path}[{index}]"
        image = decode_image(image_bytes, name)
        if not mask_bytes:
            return Sample(str(index), image, None)
        size = (image.shape[0], image.shape[1])
        return Sample(str(index), image, class_ids(decode_mask(mask_bytes[0], name), self._labels, name, size))

    def sha256(self) -> str:
        """Hash over the encoded images and masks of the rows used."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            for data in self._bytes(index):
                digest.update(data)
        return digest.hexdigest()

    def _bytes(self, index: int) -> list[bytes]:
        row = self._rows[index]
        empty = next((column for column in self._columns if not (row[column] or {}).get("bytes")), None)
        if empty is not None:  # save_to_disk stores every image's bytes, so a path alone leads nowhere
            raise DataError(f"{self._path}[{index}] has no {empty}: leave that row out")
        return [row[column]["bytes"] for column in self._columns]


def _files(folder: Path) -> dict[str, Path]:
    files = (
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    found: dict[str, Path] = {}
    for path in sorted(files):
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path} have the same name: keep one of them")
        found[path.stem] = path
    return found
