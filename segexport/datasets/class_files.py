"""Files that name classes: one name a line, JSON, and those that data sets bring with them."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport.errors import DataError
from segexport.palette import Palette
from segexport.spec import MAX_CLASSES

NAME_FILES = (
    "classes.txt",
    "codes.txt",
    "label_colors.txt",
    "class_dict.csv",
    "objectInfo150.txt",
    "id2label.json",
    "classes.json",
)
"""What may lie beside data to name its classes, in the order they are looked for."""

_COLOUR_AND_NAME = re.compile(r"^(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)$")


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their ids; `first` is the id of the first one; colours where the file has them."""

    names: tuple[str, ...]
    palette: Palette | None = None
    first: int = 0


def read_classes(path: Path) -> Classes:
    """Class names from a file.

    One name a line (empty lines and lines that begin with # are left out), `R G B NAME` lines, a CSV with the columns
    name, r, g, b; JSON: a list of names, `{"0": "road", ...}`, a list of objects with `name` and maybe `color`. Ids
    that start at 1 mean that 0 is unlabelled.

    Raises:
        DataError: cannot be read, no names, ids with gaps, a name twice, or more classes than a mask has ids.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): pass a text file with one class name a line") from error
    found = (
        _from_json(path, text)
        if path.suffix == ".json" or text.lstrip().startswith(("[", "{"))
        else _from_lines(path, text)
    )
    if not found.names:
        raise DataError(f"{path} names no classes: write one name a line")
    twice = next((name for name in found.names if found.names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} names '{twice}' twice: give every class a name of its own")
    if len(found.names) > MAX_CLASSES:
        raise DataError(f"{path} names {len(found.names)} classes: a mask has ids for {MAX_CLASSES} at most")
    return found


def _from_lines(path: Path, text: str) -> Classes:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    header = lines[0].lower().replace(" ", "") if lines else ""
    if header.startswith("idx") and header.endswith("name"):  # ADE20K's table: Idx, Ratio, Train, Val, Name
        return Classes(tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines[1:]), first=1)
    if header.startswith("name,r,g,b"):
        rows = list(csv.reader(lines[1:]))
        return Classes(tuple(row[0].strip() for row in rows), _palette(path, [row[1:4] for row in rows]))
    coloured = [_COLOUR_AND_NAME.match(line) for line in lines]
    if lines and all(coloured):
        groups = [match.groups() for match in coloured if match]
        return Classes(tuple(g[3].split("\t")[0].strip() for g in groups), _palette(path, [g[:3] for g in groups]))
    return Classes(tuple(lines))


def _from_json(path: Path, text: str) -> Classes:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}): write the file again") from error
    first = 0
    if isinstance(value, dict):
        try:
            by_id = {int(key): entry for key, entry in value.items()}
        except ValueError:
            raise DataError(f'{path} has keys that are no ids: write {{"0": "first class", ...}}') from None
        first = min(by_id, default=0)
        if sorted(by_id) != list(range(first, first + len(by_id))) or first > 1:
            raise DataError(f"{path} skips ids: number the classes 0, 1, 2, ... or 1, 2, 3, ... without gaps")
        value = [by_id[index] for index in sorted(by_id)]
    if not isinstance(value, list):
        raise DataError(f'{path} is neither a list of names nor {{"0": "first class", ...}}: write one of them')
    given = [entry.get("name") if isinstance(entry, dict) else entry for entry in value]
    names = [name for name in given if isinstance(name, str)]
    if len(names) < len(given):
        raise DataError(f"{path} has a class without a name: write a list of names, or of objects with a name")
    colours = [entry.get("color", entry.get("colour")) if isinstance(entry, dict) else None for entry in value]
    palette = _palette(path, colours) if colours and all(colour is not None for colour in colours) else None
    return Classes(tuple(names), palette, first)


def _palette(path: Path, colours: list[Any]) -> Palette:
    try:
        found = tuple((int(red), int(green), int(blue)) for red, green, blue in colours)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} has a colour that is not three numbers ({error}): write R, G, B") from error
    if any(not 0 <= channel <= 255 for colour in found for channel in colour):
        raise DataError(f"{path} has a colour outside 0 to 255: write R, G, B of 8 bits")
    return found
