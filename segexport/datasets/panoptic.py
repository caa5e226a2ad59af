"""COCO's panoptic PNGs: a segment's id is R + 256 G + 65536 B, and `panoptic_SPLIT.json` says of which category it is.

`annotations/panoptic_val2017.json` (or at the top), beside it the folder `panoptic_val2017/`, images in `val2017/` or
`images/val2017/`. Classes are the file's `categories` in the order of their ids; 0 is unlabelled. The annotation is
read when a split is listed: the file of train2017 takes some ten seconds.

Source: cocodataset.org, format of panoptic segmentation; cocodataset/panopticapi,
converters/panoptic2semantic_segmentation.py.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segexport.datasets.coco import split_images
from segexport.datasets.layout import Layout, Listing, Pair, Split, by_name, image_files
from segexport.datasets.numbering import Numbering
from segexport.errors import DataError

_PREFIX = "panoptic_"


def find(path: Path) -> Layout | None:
    """The folder that holds panoptic annotations and the images of their splits."""
    files: dict[str, Path] = {}
    splits: dict[str, Split] = {}
    for folder in (path / "annotations", path):
        for file in sorted(folder.glob(f"{_PREFIX}*.json")):
            name = file.stem.removeprefix(_PREFIX)
            images, masks = split_images(path, name), file.with_suffix("")
            if images is not None and masks.is_dir() and name not in splits:
                files[name] = file
                splits[name] = Split(images, masks, _listing(file, images, masks))
    if not splits:
        return None
    smallest = min(files.values(), key=lambda file: file.stat().st_size)  # all name the same categories
    return Layout("COCO panoptic", path, splits, _numbering(smallest))


def _listing(file: Path, images: Path, masks: Path) -> Callable[[], Listing]:
    def listed() -> Listing:
        _, segments = _annotation(file)
        found = by_name(image_files(images))
        there = by_name(image_files(masks)) if masks.is_dir() else {}
        pairs = tuple(
            Pair(name, found[name], str(masks / f"{name}.png"), name in there, {}, segments[name])
            for name in sorted(segments)
            if name in found
        )
        if segments and not pairs:
            raise DataError(f"{images} holds none of the images of {file}: unpack them there")
        return Listing(pairs, tuple(path for name, path in there.items() if name not in found))

    return listed


def _numbering(file: Path) -> Numbering:
    categories, _ = _annotation(file)
    values = ((0, "unlabelled"), *categories)
    return Numbering("COCO panoptic", values, frozenset({0}), packed=True)


@functools.lru_cache(maxsize=3)
def _annotation(file: Path) -> tuple[tuple[tuple[int, str], ...], dict[str, npt.NDArray[np.int64]]]:
    """Categories (id, name) in the order of their ids, and the segments of each mask: int64 [segments, 2].

    Raises:
        DataError: not a panoptic annotation.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        categories = tuple(sorted((int(one["id"]), str(one["name"])) for one in read["categories"]))
        segments = {
            Path(one["file_name"]).stem: np.array(
                [(s["id"], s["category_id"]) for s in one["segments_info"]], np.int64
            ).reshape(-1, 2)
            for one in read["annotations"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is not a panoptic annotation ({error!r}): download it again") from error
    return categories, segments
