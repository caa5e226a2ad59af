"""Hugging Face data sets: saved with `save_to_disk`, a copy of a hub repository with Parquet files, or on the hub.

An image column (`image`, or `pixel_values`) and one of masks (`label`, or `annotation` as in `scene_parse_150`); every
other column of plain values becomes text in `Sample.columns`. `scene_parse_150` is known to count from 1 (see
`ade20k`); of other data sets `Labels.reduce` decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segexport import hub
from segexport.datasets import ade20k
from segexport.datasets.base import Sample, Stored
from segexport.datasets.files import decoded
from segexport.datasets.layout import choose_split
from segexport.datasets.numbering import Masks, Numbering
from segexport.errors import DataError, EngineUnavailable
from segexport.images import read_bytes
from segexport.spec import Labels
from segexport.weights import INSTALL

_IMAGES = ("image", "pixel_values")
_MASKS = ("label", "annotation")
_SINGLE = ""


class HuggingFaceImages:
    """The rows of one split."""

    def __init__(self, name: str, rows: Any, labels: Labels, limit: int | None, need_masks: bool) -> None:
        import datasets

        kinds = {column: type(feature).__name__ for column, feature in rows.features.items()}
        image = next((column for column in _IMAGES if kinds.get(column) == "Image"), None)
        mask = next((column for column in _MASKS if kinds.get(column) == "Image"), None)
        if image is None or (mask is None and need_masks):
            found = ", ".join(f"{column} ({kind})" for column, kind in sorted(kinds.items()))
            raise DataError(f"{name} has columns {found}: it needs two of kind Image, image and label (or annotation)")
        self.name = name
        self.masks = Masks(labels, numbering_of(rows), name)
        self._image, self._mask = image, mask
        self._texts = {
            column: (feature.int2str if kinds[column] == "ClassLabel" else str)
            for column, feature in rows.features.items()
            if kinds[column] in ("Value", "ClassLabel")
        }
        # Undecoded, so that the same code reads these images and those of a folder.
        for column in (image, mask):
            rows = rows if column is None else rows.cast_column(column, datasets.Image(decode=False))
        self._rows = rows.select(range(min(limit or len(rows), len(rows))))
        if not len(self._rows):
            raise DataError(f"{name} holds no images")

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def name_of(self, index: int) -> str:
        """The number of one row, which is all the name it has."""
        return str(index)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        return decoded(self.stored(index), self.masks)

    def stored(self, index: int) -> Stored:
        """The bytes of one image and its mask."""
        row, name = self._rows[index], f"{self.name}[{index}]"
        columns = {column: text(row[column]) if row[column] is not None else "" for column, text in self._texts.items()}
        mask = None if self._mask is None else self._bytes(row, self._mask, name)
        return Stored(str(index), self._bytes(row, self._image, name), name, mask, name, columns)

    def sha256(self) -> str:
        """Hash over the encoded images and masks of the rows used."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            stored = self.stored(index)
            digest.update(stored.image)
            digest.update(stored.mask or b"")
        return digest.hexdigest()

    def _bytes(self, row: dict[str, Any], column: str, name: str) -> bytes:
        cell = row[column] or {}
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        if cell.get("path") and Path(cell["path"]).is_file():  # save_to_disk stores bytes; an image folder need not
            return read_bytes(Path(cell["path"]))
        raise DataError(f"{name} has no {column}: leave that row out")


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()


def is_repository(path: Path) -> bool:
    """Whether this is a copy of a hub repository: Parquet files, at the top or in `data/`."""
    return any(next(folder.glob("*.parquet"), None) is not None for folder in (path, path / "data"))


def is_hub_name(path: Path) -> bool:
    """Whether this can be `owner/name` (or `owner/name:configuration`) on the hub: two parts, and nothing there."""
    text = str(path)
    return not path.exists() and text.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def load(path: Path) -> dict[str, Any]:
    """The splits of a data set by name, '' for one without; nothing decoded.

    Raises:
        DataError: it cannot be read, or not be had from the hub.
        EngineUnavailable: the `datasets` package is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise EngineUnavailable(f"the datasets package is needed to read {path}: {INSTALL}") from error
    if is_saved(path):
        try:
            loaded: Any = datasets.load_from_disk(str(path))
        except Exception as error:
            raise DataError(f"{path} is not a data set that datasets.load_from_disk can read ({error})") from error
    elif path.is_dir():
        try:
            loaded = datasets.load_dataset(str(path))
        except Exception as error:
            raise DataError(f"{path} is not a data set that datasets.load_dataset can read ({error})") from error
    else:
        loaded = _from_hub(str(path))
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {_SINGLE: loaded}


def open_rows(path: Path, labels: Labels, split: str | None, limit: int | None, need_masks: bool) -> HuggingFaceImages:
    """One split of a data set.

    Raises:
        DataError: as `load`, no such split, or columns that are no images and masks.
        EngineUnavailable: the `datasets` package is not installed.
    """
    splits = load(path)
    chosen = _SINGLE if _SINGLE in splits and split is None else choose_split(splits, split, str(path))
    name = f"{path} ({chosen})" if chosen else str(path)
    return HuggingFaceImages(name, splits[chosen], labels, limit, need_masks)


def numbering_of(rows: Any) -> Numbering | None:
    """What is known of a data set's masks by the name it carries."""
    info = rows.info
    known = (getattr(info, "dataset_name", None) or info.builder_name or "").endswith("scene_parse_150")
    return ade20k.numbering() if known and info.config_name != "instance_segmentation" else None


def _from_hub(name: str) -> Any:
    import datasets

    repository, _, configuration = name.partition(":")
    with hub.quiet(), _offline_if_unreachable():
        try:
            return datasets.load_dataset(repository, configuration or None)
        except Exception as error:
            if isinstance(error, ValueError) and "config name" in str(error).lower():
                choice = " ".join(str(error).split())
                raise DataError(f"data set '{name}' has several parts: pass owner/name:part ({choice})") from error
            reason = hub.reason_of(error).replace("model", "data set")
            raise DataError(
                f"{name} is not a folder, and as a data set of the hub it could not be had: {reason}; download it "
                "elsewhere and pass its local folder"
            ) from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """The hub client in offline mode where the hub's host does not resolve: its retries take half a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not hub.reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def hub_file(path: Path, name: str) -> Path | None:
    """A file of a data set's repository on the hub, which `load` has reached before; None where it has none."""
    from huggingface_hub import hf_hub_download

    with hub.quiet(), _offline_if_unreachable():
        try:
            return Path(hf_hub_download(str(path).partition(":")[0], name, repo_type="dataset"))
        except Exception:
            return None
