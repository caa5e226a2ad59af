"""Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`.

The 34 ids of the annotation become the 19 of training, everything else is ignored; masks already written with those 19
(`*_gtFine_labelTrainIds.png`) are read too, where there are no others. The city is a column. The same layout holds for
BDD100K-like copies that kept Cityscapes' names, and for `gtCoarse`.

Source: cityscapesScripts, helpers/labels.py (ids, names, colours) and preparation/json2labelImg.py.
"""

from __future__ import annotations

from pathlib import Path

from segexport.data import read_json
from segexport.datasets.layout import Layout, Listing, Split, by_name, image_files, paired, subfolders
from segexport.datasets.numbering import Numbering
from segexport.palette import palette_for

IMAGES = "leftImg8bit"
_IMAGE = "_leftImg8bit"
_KINDS = ("gtFine", "gtCoarse")


def find(path: Path) -> Layout | None:
    """The folder that holds `leftImg8bit` and `gtFine` (or `gtCoarse`)."""
    splits = subfolders(path / IMAGES)
    if not splits:
        return None
    kind = next((kind for kind in _KINDS if (path / kind).is_dir()), _KINDS[0])
    train_ids = _written_with_train_ids(path / kind)
    suffix = f"_{kind}_{'labelTrainIds' if train_ids else 'labelIds'}"

    def split(name: str) -> Split:
        images, masks = path / IMAGES / name, path / kind / name

        def listed() -> Listing:
            there = by_name(image_files(masks, recursive=True), suffix) if masks.is_dir() else {}
            found = by_name(image_files(images, recursive=True), _IMAGE)
            return paired(found, there, lambda stem: str(masks / _city(stem) / f"{stem}{suffix}.png"), _columns)

        return Split(images, masks, listed)

    return Layout("Cityscapes", path, {name: split(name) for name in splits}, numbering(train_ids))


def numbering(train_ids: bool = False) -> Numbering:
    """The 34 annotated ids, 19 of which are classes; or the 19 as they are trained with."""
    classes = tuple(read_json("palettes.json")["cityscapes"]["colours"])
    if train_ids:
        return Numbering("Cityscapes", tuple(enumerate(classes)), palette=palette_for(classes))
    values = tuple(enumerate(read_json("class_names.json")["cityscapes"]["names"]))
    void = frozenset(value for value, name in values if name not in classes)
    return Numbering("Cityscapes", values, void, palette=palette_for(classes))


def _written_with_train_ids(masks: Path) -> bool:
    """Whether there are masks of training ids and no others, judged by the first folder that has masks."""
    for split in subfolders(masks):
        for city in subfolders(masks / split):
            names = list(image_files(masks / split / city))
            if any("_labelIds." in name for name in names):
                return False
            if any("_labelTrainIds." in name for name in names):
                return True
    return False


def _city(name: str) -> str:
    """The city of `frankfurt_000000_000294`: every name begins with it."""
    return name.split("_")[0]


def _columns(name: str) -> dict[str, str]:
    return {"city": _city(name)}
