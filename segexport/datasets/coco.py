"""COCO-Stuff's PNGs: one id a pixel, 0 to 181 with gaps, of which the 171 in use are classes; 255 is unlabelled.

`images/train2017/NAME.jpg` with `annotations/train2017/NAME.png`, or with `stuffthingmaps_trainval2017/train2017/` or
`stuffthingmaps/train2017/`; images also in `train2017/` at the top. Masks that mmsegmentation has converted
(`NAME_labelTrainIds.png`, 0 to 170) are read where they are.

Source: nightrome/cocostuff, README and labels.txt; mmsegmentation, tools/dataset_converters/coco_stuff164k.py.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from segexport.data import read_json
from segexport.datasets.layout import Layout, Split, folders, image_files, subfolders
from segexport.datasets.numbering import Numbering

MASKS = ("annotations", "stuffthingmaps_trainval2017", "stuffthingmaps")
CONVERTED = "_labelTrainIds"
_YEARS = ("2014", "2017")
_JUDGED = 100
"""Files by whose names masks are taken to be converted."""


def find(path: Path) -> Layout | None:
    """The folder that holds images and stuff maps of splits that end in a year of COCO's."""
    for kind in MASKS:
        splits = {name: images for name in subfolders(path / kind) if (images := split_images(path, name)) is not None}
        if splits:
            converted = any(
                CONVERTED in file for name in splits for file in islice(image_files(path / kind / name), _JUDGED)
            )
            suffix = CONVERTED if converted else ""
            found = {
                name: Split(images, path / kind / name, folders(images, path / kind / name, "", suffix))
                for name, images in splits.items()
            }
            return Layout("COCO-Stuff", path, found, numbering(converted))
    return None


def split_images(path: Path, split: str) -> Path | None:
    """The folder with the images of `train2017`, `val2017`, ...; None for other names, or where there is none."""
    if not split.endswith(_YEARS):
        return None
    return next((folder for folder in (path / "images" / split, path / split) if folder.is_dir()), None)


def numbering(converted: bool = False) -> Numbering:
    """The ids in use and their classes; or the 171 as mmsegmentation numbers them."""
    table = read_json("class_names.json")["coco-stuff"]
    names, unused = table["names"], set(table["unused"])
    ids = range(len(names)) if converted else [i for i in range(len(names) + len(unused)) if i not in unused]
    return Numbering("COCO-Stuff", tuple(zip(ids, names, strict=True)))
