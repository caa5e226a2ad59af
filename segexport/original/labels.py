"""Class names and colours of a `.pth` checkpoint: from its `meta`, else from how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segexport.data import read_json
from segexport.palette import Palette, palette_for
from segexport.segformer import Structure
from segexport.spec import Labels

_ADE_FIRST = "wall"


def labels_of(meta: Mapping[str, Any], structure: Structure) -> tuple[Labels, str | None]:
    """The labels of the head, and a note where something was assumed.

    mmcv keeps them as `CLASSES` and `PALETTE`, mmengine as `dataset_meta` with `classes` and `palette`. ADE20K's data
    sets count from 1 (`reduce`).
    """
    count = structure.classes or 0
    told = meta.get("dataset_meta") if isinstance(meta.get("dataset_meta"), Mapping) else meta
    assert isinstance(told, Mapping)
    names = _sequence(told.get("classes", told.get("CLASSES")))
    if len(names) == count and all(isinstance(name, str) for name in names):
        found = tuple(str(name) for name in names)
        colours = _colours(told.get("palette", told.get("PALETTE")), count)
        return Labels(found, colours or palette_for(found), count == 150 and found[0] == _ADE_FIRST), None
    said = f"it names {len(names)} classes where the head has {count}" if names else "it does not name its classes"
    return _by_number(count, said, structure)


def _by_number(count: int, said: str, structure: Structure) -> tuple[Labels, str]:
    if structure.head == "segmentation":
        for name, known in read_json("aliases.json")["label_sets"].items():
            if known["count"] == count:
                names = tuple(known.get("names") or _numbered(count))
                title = {"ade20k": "ADE20K", "cityscapes": "Cityscapes"}.get(name, name)
                named = "" if known.get("names") else ", without their names"
                return Labels(
                    names, palette_for(names), known["reduce"]
                ), f"{said}: taking {count} for {title}'s{named}"
    names = _numbered(count)
    return Labels(names, palette_for(names)), f"{said}: they are called LABEL_0 to LABEL_{count - 1}"


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(count))


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _colours(value: object, count: int) -> Palette | None:
    rows = [tuple(row) for row in _sequence(value) if isinstance(row, list | tuple)]
    if len(rows) != count or not all(
        len(r) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in r) for r in rows
    ):
        return None
    return tuple((r, g, b) for r, g, b in rows)
