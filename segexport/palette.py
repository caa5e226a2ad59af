"""Colours for class maps: the data set's own where its labels are known, Pascal VOC's colour map otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from segexport import scenes
from segexport.data import read_json

Palette = tuple[tuple[int, int, int], ...]


def palette_for(names: Sequence[str]) -> Palette:
    """One RGB colour per class name."""
    wanted = [name.strip().lower() for name in names]
    for known in _known():
        if all(name in known for name in wanted):
            return tuple(known[name] for name in wanted)
    return voc_colour_map(len(names))


def voc_colour_map(count: int) -> Palette:
    """The colour map of the Pascal VOC development kit (Everingham et al.): bits of the id, spread over RGB."""
    return tuple(_voc_colour(i) for i in range(count))


def _voc_colour(index: int) -> tuple[int, int, int]:
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


def _known() -> list[dict[str, tuple[int, int, int]]]:
    files = [
        {name.lower(): (colour[0], colour[1], colour[2]) for name, colour in entry["colours"].items()}
        for entry in read_json("palettes.json").values()
    ]
    return [dict(zip(scenes.LABELS, scenes.PALETTE, strict=True)), *files]
