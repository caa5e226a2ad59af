"""ADE20K as the scene parsing benchmark has it (ADEChallengeData2016): `images/training`, `annotations/training`, ...

Ids count from 1 and 0 is unlabelled: 0 becomes 255 and k becomes k - 1, whatever the checkpoint says of reducing
labels, except for a label set of 151, which counts 0 as a class. Names are those of `objectInfo150.txt` where it lies
beside.

Source: CSAILVision/sceneparsing; Zhou et al., "Scene Parsing through ADE20K Dataset", 2017.
"""

from __future__ import annotations

from pathlib import Path

from segexport.data import read_json
from segexport.datasets.class_files import read_classes
from segexport.datasets.layout import Layout, Split, folders, subfolders
from segexport.datasets.numbering import Numbering
from segexport.palette import palette_for

_OBJECTS = "objectInfo150.txt"
_SPLITS = ("training", "validation")


def find(path: Path) -> Layout | None:
    """The folder that holds `images/training` or `images/validation`, and `annotations`."""
    there = [name for name in subfolders(path / "images") if name in _SPLITS]
    if not there or not (path / "annotations").is_dir():
        return None
    splits = {}
    for name in subfolders(path / "images"):
        images, masks = path / "images" / name, path / "annotations" / name
        splits[name] = Split(images, masks, folders(images, masks))
    names = read_classes(path / _OBJECTS).names if (path / _OBJECTS).is_file() else None
    return Layout("ADE20K", path, splits, numbering(names))


def numbering(names: tuple[str, ...] | None = None) -> Numbering:
    """150 classes from 1 on, below them what is unlabelled."""
    names = names or tuple(read_json("class_names.json")["ade20k"]["names"])
    values = ((0, "unlabelled"), *((index + 1, name) for index, name in enumerate(names)))
    return Numbering("ADE20K", values, frozenset({0}), from_one=True, palette=palette_for(names))
