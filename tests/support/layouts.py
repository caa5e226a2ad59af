"""Small data sets of every layout, made for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (6, 8)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def ids(*values: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask that holds these values, in stripes."""
    return np.resize(np.array(values, np.uint8).repeat(2), size)


def write(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def folder(path: Path, masks: list[np.ndarray], split: str = "", seed: int = 0) -> Path:
    for index, mask in enumerate(masks):
        write(path / split / "images" / f"{index:03d}.png", picture(seed + index, mask.shape[:2]))
        write(path / split / "masks" / f"{index:03d}.png", mask)
    return path


def cityscapes(path: Path, suffix: str = "labelIds", values: tuple[int, ...] = (7, 8, 26, 3, 33)) -> Path:
    for split, city in (("train", "aachen"), ("val", "lindau"), ("val", "bochum")):
        name = f"{city}_000000_000019"
        write(path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", picture())
        write(path / "gtFine" / split / city / f"{name}_gtFine_{suffix}.png", ids(*values))
        write(path / "gtFine" / split / city / f"{name}_gtFine_color.png", picture(1))
        (path / "gtFine" / split / city / f"{name}_gtFine_polygons.json").write_text("{}")
    return path


def ade20k(path: Path, values: tuple[int, ...] = (0, 1, 150)) -> Path:
    for split in ("training", "validation"):
        name = "ADE_train_00000001" if split == "training" else "ADE_val_00000001"
        write(path / "images" / split / f"{name}.jpg", picture())
        write(path / "annotations" / split / f"{name}.png", ids(*values))
    return path


def camvid_segnet(path: Path) -> Path:
    for split in ("train", "val", "test"):
        write(path / split / "0001TP_006690.png", picture())
        write(path / f"{split}annot" / "0001TP_006690.png", ids(0, 10, 11))
    return path


COLOURS = {"Sky": (128, 128, 128), "Road": (128, 64, 128), "Wall": (64, 192, 0), "Void": (0, 0, 0), "Red": (255, 0, 0)}


def camvid_colours(path: Path) -> Path:
    lines = ["{} {} {}\t\t{}".format(*colour, name) for name, colour in COLOURS.items()]
    path.mkdir(parents=True)
    (path / "label_colors.txt").write_text("\r\n".join(lines) + "\r\n")
    write(path / "701_StillsRaw_full" / "0001TP_006690.png", picture())
    write(path / "LabeledApproved_full" / "0001TP_006690_L.png", coloured(ids(4, 3, 2, 1, 0)))
    return path


def coloured(mask: np.ndarray) -> np.ndarray:
    return np.array(list(COLOURS.values()), np.uint8)[mask]


def camvid_fastai(path: Path, valid: bool = True) -> Path:
    for name in ("a", "b", "c"):
        write(path / "images" / f"{name}.png", picture())
        write(path / "labels" / f"{name}_P.png", ids(0, 1, 2, 3))
    (path / "codes.txt").write_text("Sky\nRoad\nVoid\nWall\n")
    if valid:
        (path / "valid.txt").write_text("b.png\n")
    return path


def coco_stuff(path: Path, masks: str = "annotations", suffix: str = "", values=(0, 10, 12, 181, 255)) -> Path:
    for split in ("train2017", "val2017"):
        write(path / "images" / split / "000000000139.jpg", picture())
        write(path / masks / split / f"000000000139{suffix}.png", ids(*values))
    return path


def panoptic(path: Path) -> Path:
    """Two segments, ids above 255, of the second and first category; and what belongs to none."""
    segments = np.array([0, 3_226_956, 70_000])
    packed = np.resize(segments.repeat(2), SIZE)
    rgb = np.stack([packed % 256, packed // 256 % 256, packed // 65536], -1).astype(np.uint8)
    write(path / "val2017" / "000000000139.jpg", picture())
    write(path / "annotations" / "panoptic_val2017" / "000000000139.png", rgb)
    annotation = {
        "categories": [{"id": 200, "name": "rug"}, {"id": 1, "name": "person"}],
        "annotations": [
            {
                "image_id": 139,
                "file_name": "000000000139.png",
                "segments_info": [{"id": 3_226_956, "category_id": 200}, {"id": 70_000, "category_id": 1}],
            }
        ],
    }
    (path / "annotations" / "panoptic_val2017.json").write_text(json.dumps(annotation))
    return path
