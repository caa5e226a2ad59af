"""What a layout is: the splits found under a folder, the pairs of files in each, and what the masks' values mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segexport.datasets.numbering import Numbering
from segexport.errors import DataError
from segexport.images import IMAGE_SUFFIXES

_NO_COLUMNS: Mapping[str, str] = {}


class Pair(NamedTuple):
    """An image file and its mask's; `has_mask` is False where `mask` is only where one should be."""

    name: str
    image: str
    mask: str
    has_mask: bool
    columns: Mapping[str, str] = _NO_COLUMNS
    segments: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Listing:
    """The pairs of one split, in the order of their names, and the mask files that belong to no image."""

    pairs: tuple[Pair, ...]
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """One split: the folder its images are under, where its masks should be, and a way to list both."""

    images: Path
    masks: Path
    list: Callable[[], Listing]
    folder: Path | None = None
    """What a user may name to mean this split; its `images` unless told."""


@dataclass(frozen=True)
class Layout:
    """A data set's folder, understood. One without splits has a single one, named ''."""

    what: str
    path: Path
    splits: Mapping[str, Split]
    numbering: Numbering | None = None

    def names(self) -> tuple[str, ...]:
        """The splits, training first and test last."""
        return tuple(sorted((name for name in self.splits if name), key=lambda name: (_order(name), name)))


def family(split: str) -> str:
    """`train`, `val` or `test` for a split's name as data sets write it (training, train2017, valid), else the name."""
    known = (("train", "train"), ("val", "val"), ("dev", "val"), ("test", "test"))
    return next((kind for prefix, kind in known if split.lower().startswith(prefix)), split)


def choose_split(names: Iterable[str], wanted: str | None, where: str) -> str:
    """The split to open: the one asked for, by its name or its family's; else validation, else test, else the last.

    Raises:
        DataError: the split asked for is not there, or could be several; lists those there are.
    """
    found = list(names)
    if wanted is None:
        for kind in ("val", "test"):
            for name in found:
                if family(name) == kind:
                    return name
        return found[-1]
    if wanted in found:
        return wanted
    similar = [name for name in found if family(name) == family(wanted)]
    if len(similar) != 1:
        raise DataError(f"{where} has no split '{wanted}': pass one of {', '.join(found)}")
    return similar[0]


def _order(split: str) -> int:
    return {"train": 0, "val": 1, "test": 3}.get(family(split), 2)


def image_files(folder: Path | str, recursive: bool = False) -> Iterator[str]:
    """Paths of the image files of a folder, hidden ones left out, in no order; also one level down if asked."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES:
                yield entry.path
            elif recursive and entry.is_dir():
                yield from image_files(entry.path)


def holds_images(folder: Path | str) -> bool:
    """Whether a folder holds an image file; stops at the first."""
    return next(image_files(folder), None) is not None


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, hidden ones left out, in order."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def by_name(files: Iterable[str], suffix: str = "") -> dict[str, str]:
    """Image files by name, without folder, extension and `suffix`; those without the suffix are left out.

    Raises:
        DataError: two of one name.
    """
    found: dict[str, str] = {}
    for path in files:
        name = path[path.rfind(os.sep) + 1 : path.rfind(".")]  # a Path each would take a second for 100,000
        if suffix:
            if not name.endswith(suffix):
                continue
            name = name[: -len(suffix)]
        if name in found:
            first, second = sorted((found[name], path))
            raise DataError(f"{first} and {second} have the same name: keep one of them")
        found[name] = path
    return found


def paired(
    images: Mapping[str, str],
    masks: Mapping[str, str],
    expected: Callable[[str], str],
    columns: Callable[[str], Mapping[str, str]] | None = None,
) -> Listing:
    """Images and masks of the same name as pairs; `expected` says where the mask of a name should be."""
    pairs = []
    for name in sorted(images):
        mask = masks.get(name)
        told = columns(name) if columns is not None else _NO_COLUMNS
        pairs.append(Pair(name, images[name], mask or expected(name), mask is not None, told))
    return Listing(tuple(pairs), tuple(sorted(path for name, path in masks.items() if name not in images)))


def folders(images: Path, masks: Path, image_suffix: str = "", mask_suffix: str = "") -> Callable[[], Listing]:
    """A listing of two flat folders, whose files have the same names but for a suffix each, whatever the extensions."""

    def listed() -> Listing:
        there = by_name(image_files(masks), mask_suffix) if masks.is_dir() else {}
        return paired(
            by_name(image_files(images), image_suffix), there, lambda name: str(masks / f"{name}{mask_suffix}.png")
        )

    return listed
