"""What is kept of an image: one line of JSON for each condition it was seen in, from which every figure is computed.

    {"index":0,"condition":0,"name":"a","height":360,"width":480,"sha256":"...","brightness":103.2,"columns":{},
     "scores":[{"confusion":[[0,0,52100],[0,1,12]],"boundary":[[0,310,402,388]]}]}
    {"index":0,"condition":1,"corruption":"fog","severity":3,"scores":[{"confusion":[[0,0,50020],[0,1,2092]]}]}
    {"index":1,"condition":0,"bad":"images/b.png is not an image Pillow can read: ..."}

`scores` has an entry for each subject. `confusion` holds [truth, predicted, pixels] of the pairs that occur, `boundary`
[class, hits, truth, predicted] pixels, `bands` a confusion for each horizontal band of the image, from the top.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.datasets import Sample
from segexport.evaluation.boundary import boundary_counts
from segexport.evaluation.condition import CLEAN, Condition
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.images import UInt8

Ints = npt.NDArray[np.int64]

_HEAD = re.compile(rb'\{"index":(\d+),"condition":(\d+),"(\w+)":')
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Score:
    """What one subject made of one image: pairs of classes, int64 [n, 3]; boundaries, int64 [m, 4]; pairs by band."""

    confusion: Ints
    boundary: Ints
    bands: tuple[Ints, ...] = ()


@dataclass(frozen=True)
class Record:
    """One line: an image in one condition. Name, brightness and columns are those of the clean image's line."""

    index: int
    condition: int
    scores: tuple[Score, ...]
    name: str = ""
    brightness: float = float("nan")
    columns: dict[str, str] | None = None


def score(truth: UInt8, found: UInt8, classes: int, *, boundary: bool, bands: int | None) -> dict[str, Any]:
    """A subject's entry in `scores`.

    Args:
        truth: class ids, uint8 [H, W], 255 = ignore.
        found: class ids, uint8 [H, W].
        classes: how many there are.
        boundary: whether boundary pixels are counted, too.
        bands: horizontal bands of equal height to count apart, from the top; None for none.
    """
    matrix = ConfusionMatrix(classes)
    matrix.update(truth, found)
    entry: dict[str, Any] = {"confusion": _pairs(matrix.counts)}
    if boundary:
        counts = boundary_counts(truth, found, classes)
        (shown,) = counts.any(0).nonzero()
        entry["boundary"] = np.column_stack([shown, counts[:, shown].T]).tolist()
    if bands is not None:
        entry["bands"] = []
        for rows in np.array_split(np.arange(len(truth)), bands):
            part = ConfusionMatrix(classes)
            part.update(truth[rows], found[rows])
            entry["bands"].append(_pairs(part.counts))
    return entry


def line(
    index: int, number: int, condition: Condition, sample: Sample, scores: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The record of image `index` in the evaluation's condition `number`."""
    entry: dict[str, Any] = {"index": index, "condition": number}
    if condition == CLEAN:
        height, width = sample.image.shape[:2]
        entry |= {"name": sample.name, "height": height, "width": width, "sha256": digest(sample)}
        entry |= {"brightness": brightness(sample.image), "columns": sample.columns}
    else:
        entry |= {"corruption": condition.corruption, "severity": condition.severity}
    return entry | {"scores": list(scores)}


def bad_line(index: int, number: int, why: str) -> dict[str, Any]:
    """The record of an image that was left out."""
    return {"index": index, "condition": number, "bad": why}


def encode(entry: dict[str, Any]) -> bytes:
    """A record as a line of bytes."""
    return (json.dumps(entry, separators=(",", ":"), allow_nan=False) + "\n").encode()


def head(raw: bytes) -> tuple[int, int, bool] | None:
    """Index, condition, and whether the image was bad, of a line; None if it is none, or is torn off."""
    found = _HEAD.match(raw)
    if found is None or not raw.endswith(b"}\n"):
        return None
    return int(found[1]), int(found[2]), found[3] == b"bad"


def decode(raw: bytes) -> Record:
    """A line as `Record`.

    Raises:
        ValueError, KeyError: it is none.
    """
    entry = json.loads(raw)
    scores = tuple(
        Score(
            _table(s["confusion"], 3), _table(s.get("boundary", []), 4), tuple(_table(b, 3) for b in s.get("bands", []))
        )
        for s in entry["scores"]
    )
    return Record(
        entry["index"],
        entry["condition"],
        scores,
        entry.get("name", ""),
        entry.get("brightness", float("nan")),
        entry.get("columns"),
    )


def confusion_matrix(pairs: Ints, classes: int) -> Ints:
    """Pairs of a record, [n, 3], as counts [classes, classes]; rows are ground truth."""
    matrix = np.zeros((classes, classes), np.int64)
    matrix[pairs[:, 0], pairs[:, 1]] = pairs[:, 2]
    return matrix


def class_counts(pairs: Ints, classes: int) -> Ints:
    """Pairs of a record, [n, 3], as pixels hit, of the truth and predicted: int64 [3, classes]."""
    counts = np.zeros((3, classes), np.int64)
    truth, predicted, pixels = pairs.T
    hit = truth == predicted
    counts[0, truth[hit]] = pixels[hit]
    np.add.at(counts[1], truth, pixels)
    np.add.at(counts[2], predicted, pixels)
    return counts


def boundary_table(rows: Ints, classes: int) -> Ints:
    """Boundaries of a record, [m, 4], as `boundary_counts` gave them: int64 [3, classes]."""
    counts = np.zeros((3, classes), np.int64)
    counts[:, rows[:, 0]] = rows[:, 1:].T
    return counts


def digest(sample: Sample) -> str:
    """What tells an image and its mask from others: a hash of name, pixels and class ids."""
    found = hashlib.sha256(sample.name.encode())
    found.update(repr(sample.image.shape).encode())
    found.update(np.ascontiguousarray(sample.image).data)
    if sample.mask is not None:
        found.update(np.ascontiguousarray(sample.mask).data)
    return found.hexdigest()


def brightness(image: UInt8) -> float:
    """Mean luma of uint8 [H, W, 3] RGB, 0 to 255, by the weights of ITU-R BT.601."""
    red, green, blue = image.reshape(-1, 3).mean(0, dtype=np.float64)
    return round(float(_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue), 4)


def _pairs(matrix: Ints) -> list[list[int]]:
    truth, predicted = matrix.nonzero()
    found: list[list[int]] = np.column_stack([truth, predicted, matrix[truth, predicted]]).tolist()
    return found


def _table(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, columns)
