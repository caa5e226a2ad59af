"""A Hugging Face data set saved with `save_to_disk`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from segexport.datasets.base import Sample
from segexport.errors import DataError, EngineUnavailable
from segexport.images import class_ids, decode_image, decode_mask
from segexport.spec import Labels
from segexport.weights import INSTALL


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
