"""The label set of a data set: from a file that names its classes, from its layout, or from what lies beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segexport.datasets import huggingface
from segexport.datasets.base import StoredImages
from segexport.datasets.class_files import NAME_FILES, Classes, read_classes
from segexport.datasets.numbering import Numbering
from segexport.datasets.opening import find_layout, is_huggingface, not_found, open_data
from segexport.errors import DataError
from segexport.palette import Palette, palette_for
from segexport.spec import IGNORE_INDEX, Labels

_LOOKED_AT = 50
"""Masks whose ids are named where nothing names the classes."""

_SHOWN = 20


def labels_of(path: Path, classes: Path | None = None) -> Labels:
    """Class names, colours and counting of a data set.

    Names come from `classes`, else from a layout that knows them (Cityscapes, ADE20K, CamVid, COCO,
    `scene_parse_150`), else from one of `NAME_FILES` (`classes.txt`, `codes.txt`, `id2label.json`, ...) in the data
    set's folder or, for one split's folder, the one above. `reduce` is set for ADE20K, and by a file whose ids start
    at 1. Colours are the file's or the layout's, else `segexport.palette`'s.

    Args:
        path: a data set, as for `open_data`.
        classes: a file as `segexport.datasets.class_files.read_classes` reads.

    Raises:
        DataError: no data set, a file that cannot be used, or nothing that names the classes; the last one says which
            ids were found in the masks, and how to write a file.
        EngineUnavailable: a Hugging Face data set, and the `datasets` package is not installed.
    """
    numbering = _numbering(path)
    if classes is not None:
        return _with_numbering(read_classes(classes), numbering)
    if numbering is not None:
        return numbering.labels
    beside = _beside(path)
    if beside is not None:
        return _with_numbering(read_classes(beside), None)
    raise DataError(
        f"{path} does not name its classes (its masks hold {found_ids(path)}): write a file with one name a line, in "
        "the order of the ids, and pass it with --classes, or put it there as classes.txt"
    )


def found_ids(path: Path) -> str:
    """The values in the first masks of a data set, in words; for messages."""
    anything = Labels(("any",), palette_for(("any",)))
    found: set[int] = set()
    try:
        images: StoredImages = open_data(path, anything, limit=_LOOKED_AT)
    except DataError as error:
        return f"nothing that can be read: {error}"
    for index in range(len(images)):
        try:
            stored = images.stored(index)
            if stored.mask is not None:
                found |= set(np.unique(images.masks.raw(stored.mask, stored.mask_name)).tolist())
        except DataError:
            continue
    ids = sorted(found - {IGNORE_INDEX})
    if not ids:
        return "no ids that can be read"
    contiguous = len(ids) > 2 and ids == list(range(ids[0], ids[-1] + 1))
    shown = f"{ids[0]} to {ids[-1]}" if contiguous else ", ".join(map(str, ids[:_SHOWN]))
    more = "" if contiguous or len(ids) <= _SHOWN else f" and {len(ids) - _SHOWN} more"
    return f"the ids {shown}{more}" + (" and 255 for ignored pixels" if IGNORE_INDEX in found else "")


def _numbering(path: Path) -> Numbering | None:
    if is_huggingface(path):
        return huggingface.numbering_of(next(iter(huggingface.load(path).values())))
    layout = find_layout(path)
    if layout is None:
        raise not_found(path)
    return layout.numbering


def _with_numbering(found: Classes, numbering: Numbering | None) -> Labels:
    """A file's names; how to count is the layout's matter where it knows."""
    colours: Palette = found.palette or palette_for(found.names)
    if numbering is None:
        return Labels(found.names, colours, reduce=found.first == 1)
    return Labels(found.names, colours, numbering.from_one and len(found.names) == len(numbering.names))


def _beside(path: Path) -> Path | None:
    if path.is_dir():
        for folder in (path, *path.absolute().parents[:1]):
            for name in NAME_FILES:
                if (folder / name).is_file():
                    return folder / name
        return None
    return huggingface.hub_file(path, "id2label.json")
