"""More about each image, from a CSV file: its city, the weather, the hour."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path

from segexport.datasets.base import LabelledImages, Sample, Stored, as_stored
from segexport.datasets.numbering import Masks
from segexport.errors import DataError

_NAMED = 5


class WithColumns:
    """A data set whose samples carry a table's columns."""

    def __init__(self, images: LabelledImages, rows: dict[str, dict[str, str]]) -> None:
        self.name = images.name
        self._images = images
        self._rows = rows

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    @property
    def masks(self) -> Masks:
        """What the values of these masks mean."""
        return as_stored(self._images).masks

    def name_of(self, index: int) -> str:
        """The name of one image."""
        return as_stored(self._images).name_of(index)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        sample = self._images.sample(index)
        return dataclasses.replace(sample, columns={**sample.columns, **self._rows[sample.name]})

    def stored(self, index: int) -> Stored:
        """The bytes of one image and its mask."""
        stored = as_stored(self._images).stored(index)
        return dataclasses.replace(stored, columns={**stored.columns, **self._rows[stored.name]})

    def sha256(self) -> str:
        """Hash of the images and of the columns."""
        return hashlib.sha256(f"{self._images.sha256()} {sorted(self._rows.items())}".encode()).hexdigest()


def with_columns(images: LabelledImages, csv_path: Path) -> LabelledImages:
    """Add a table's columns to the samples.

    Args:
        images: a data set read from files (of a Hugging Face data set, a row's number is its name).
        csv_path: a CSV with a header, whose first column is the image's name, with or without folder and extension.
            Rows of other images are left out.

    Raises:
        DataError: it cannot be read, a line has too many or too few fields, an image has two rows or none; names them.
    """
    source = as_stored(images)
    names = [source.name_of(index) for index in range(len(source))]
    rows = _read(csv_path, set(names))
    missing = [name for name in names if name not in rows]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DataError(
            f"{csv_path} has no row for {', '.join(missing[:_NAMED])}{more}: its first column names every image"
        )
    return WithColumns(images, rows)


def _read(csv_path: Path, names: set[str]) -> dict[str, dict[str, str]]:
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{csv_path} cannot be read ({error}): pass a CSV file in UTF-8") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise DataError(f"{csv_path} is no table: write a header such as name,city,weather and one row an image")
    header = lines[0]
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise DataError(f"{csv_path} has {len(line)} fields in row {number} and {len(header)} in its header")
        written = Path(line[0])
        name = next((one for one in (line[0], written.name, written.stem) if one in names), None)
        if name is None:
            continue
        if name in rows:
            raise DataError(f"{csv_path} has two rows for {name}: keep one of them")
        rows[name] = dict(zip(header[1:], line[1:], strict=True))
    return rows
