"""Traps in masks one by one: no ids in them, or nothing to learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from segexport.datasets.look import Look
from segexport.datasets.numbering import UNKNOWN, unpack
from segexport.spec import IGNORE_INDEX
from segexport.traps.data_files import some
from segexport.traps.trap import Trap


def per_split(where: str, seen: Sequence[Look]) -> Iterator[Trap]:
    """Masks of one split that hold no ids, or nothing to learn."""
    with_mask = [one for one in seen if one.has_mask]
    coloured = [one for one in with_mask if one.colours]
    broken = [one for one in with_mask if one.mask_error and not one.colours]
    jpeg = [one for one in with_mask if one.mask_format == "JPEG"]
    if broken:
        yield Trap(
            "unreadable-mask",
            "error",
            where,
            f"{len(broken)} of {len(with_mask)} masks cannot be read: {some([one.mask_error for one in broken], 1)}",
            "training and evaluation stop at the first one",
            "replace the files, or take them and their images out",
        )
    if jpeg:
        example = jpeg[0] if jpeg[0].values is None else max(jpeg, key=lambda one: _length(one))
        values = f", with {_length(example)} different values" if _length(example) else ""
        yield Trap(
            "mask-jpeg",
            "error",
            where,
            f"{len(jpeg)} of {len(with_mask)} masks are JPEG files: {example.mask_name}{values}",
            "JPEG smears values around every edge, into ids of other classes",
            "write the masks again from their source, as PNG; converting these keeps the damage",
        )
    if coloured:
        yield _coloured(where, coloured, len(with_mask))
    decoded = [one for one in with_mask if one.ids is not None]
    ignored = [one for one in decoded if not _classes(one) and UNKNOWN not in _ids(one)]
    if ignored:
        yield Trap(
            "mask-all-ignored",
            "error" if len(ignored) == len(decoded) else "warning",
            where,
            f"{len(ignored)} of {len(decoded)} masks have no labelled pixel: "
            f"{some([one.mask_name for one in ignored])}",
            "nothing is learnt from them, and a batch of them alone has a loss of 0/0",
            "label them, or take them out",
        )
    single = [one for one in decoded if len(_classes(one)) == 1]
    if decoded and len(single) == len(decoded) and len({min(_classes(one)) for one in single}) == 1:
        yield Trap(
            "one-class-only",
            "error",
            where,
            f"all of {len(decoded)} masks show one class, the value {min(_classes(single[0]))}",
            "a model that always says so has no error and learns nothing else",
            "check what wrote the masks: values were perhaps scaled, thresholded or read as true and false",
        )


def _coloured(where: str, coloured: Sequence[Look], count: int) -> Trap:
    packed: dict[int, None] = {}
    for one in coloured:
        packed.update(dict.fromkeys(one.colours))
    colours = [unpack(value) for value in packed]
    grey = all(red == green == blue for red, green, blue in colours)
    folder = str(Path(coloured[0].mask_name).parent)
    detail = f"{len(coloured)} of {count} masks are colour images ({coloured[0].mask_mode}): {coloured[0].mask_name}"
    if grey:
        read, fix = ".convert('L'))", "their three channels are equal: keep one"
        code = rewrite(folder, f"np.asarray(Image.open(file){read}")
        return Trap("mask-coloured", "error", where, detail, _NOT_IDS, fix, code)
    shown = dict(zip(colours[:IGNORE_INDEX], range(IGNORE_INDEX), strict=False))
    code = f"""ids = {shown!r}  # colour: class id; put the ids in the order of your classes, 255 for what is no class
""" + rewrite(
        folder,
        "np.full(rgb.shape[:2], 255, np.uint8)\n"
        "    for colour, number in ids.items():\n        ids_map[(rgb == colour).all(-1)] = number",
        before="    rgb = np.asarray(Image.open(file).convert('RGB'))\n",
    )
    fix = f"write class ids in their place: there are {len(colours)} colours"
    return Trap("mask-coloured", "error", where, detail, _NOT_IDS, fix, code)


_NOT_IDS = "a mask holds one class id a pixel; colours are for people"


def rewrite(folder: str, expression: str, before: str = "") -> str:
    """Code that writes masks again beside their folder."""
    return f"""from pathlib import Path
import numpy as np
from PIL import Image
source = Path({folder!r})
target = source.with_name(source.name + "-ids")  # to be put in the place of source
target.mkdir(exist_ok=True)
for file in sorted(path for path in source.iterdir() if path.is_file()):
{before}    ids_map = {expression}
    Image.fromarray(ids_map).save(target / (file.stem + ".png"))"""


def _ids(one: Look) -> set[int]:
    return set() if one.ids is None else set(one.ids.tolist())


def _classes(one: Look) -> set[int]:
    return _ids(one) - {IGNORE_INDEX, UNKNOWN}


def _length(one: Look) -> int:
    return 0 if one.values is None else len(np.atleast_1d(one.values))
