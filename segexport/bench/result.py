"""What a benchmark found: rows of figures, as data. JSON Schema: `segexport/data/bench.schema.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segexport.bench.explanation import Explanation
from segexport.evaluation.bootstrap import Interval
from segexport.spec import Size, to_json

SCHEMA = 3

REFERENCE_ENGINE = "pytorch"

WIDE_SPREAD = 1.5
"""p90 over p50 from which on calls spread widely: of the 68 in benchmarks/results the median is 1.13, two are above."""

_COARSENESS = {"fp32": 0, "bf16": 1, "fp16": 1, "int8": 2}


def coarseness(precision: str) -> int:
    """How much a precision rounds: 0 for fp32, 1 for bf16 and fp16, 2 for int8 and whatever else there is."""
    return _COARSENESS.get(precision, 2)


@dataclass(frozen=True)
class Comparison:
    """A row beside another one of the same run, by name: what its agreement is with, or a bundle of higher precision.

    `speedup` is the other's median call over this one's, `miou_change` this one's mIoU minus the other's (None: not
    scored), `agreement` the share of pixels, or images, with the other's class (None: not the same network size).
    `lost_classes` are those whose IoU fell, beyond noise, to less than half of the other's.
    """

    against: str
    speedup: Interval
    miou_change: Interval | None
    agreement: float | None
    lost_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One contender. Times are in milliseconds, IoU and shares are fractions; None is "not measured".

    `latency_ms` is the whole call (raw images to class maps in the images' size), of which there were `calls` with
    `batch` images each; `network_ms` the engine's execution of its graph, or PyTorch's forward pass. `throughput` is in
    images a second, with as many callers at once as the result's `concurrency`. `agreement` is that with the row named
    `agreement_with`; `comparisons` has the others. `doubts` says why the times may mislead.
    """

    name: str
    engine: str
    version: str | None
    precision: str
    size: tuple[int, int]
    latency_ms: dict[str, float]
    network_ms: dict[str, float]
    batch: int
    calls: int
    throughput: float | None
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None] | None
    agreement: float | None
    agreement_with: str | None
    size_bytes: int
    peak_memory_bytes: int
    verdict: str
    notes: tuple[str, ...] = ()
    miou_interval: Interval | None = None
    comparisons: tuple[Comparison, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def is_reference(self) -> bool:
        """Whether this is PyTorch, and no bundle."""
        return self.engine == REFERENCE_ENGINE


@dataclass(frozen=True)
class Result:
    """A whole benchmark: the conditions and the rows, the reference first where there is one.

    `notes` are sentences about all of it, `doubts` what makes all the times doubtful. `interrupted` says that Ctrl-C
    ended it: the rows have what was measured until then. `explanation` says where bundles differ, if that was asked for
    (`segexport.bench.explain`).
    """

    machine: dict[str, Any]
    data: dict[str, Any]
    reference: str | None
    random_weights: bool
    rows: tuple[Row, ...]
    concurrency: int = 1
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    interrupted: bool = False
    explanation: Explanation | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `bench --json`; NaN never appears, nor an explanation that nobody asked for."""
        content: dict[str, Any] = _without_nan({"schema": SCHEMA, **to_json(self)})
        if self.explanation is None:
            del content["explanation"]
        return content


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99 in milliseconds."""
    return {f"p{p}": float(np.percentile(seconds, p) * 1e3) for p in (50, 90, 99)}


def spread_doubt(seconds: Sequence[float], sizes: Sequence[Size] = ()) -> tuple[str, ...]:
    """A sentence where calls spread widely: p90 is at least 1.5 times p50.

    Args:
        seconds: of each call.
        sizes: of each call's image: a call is then held against the median of those of its size, as larger ones take
            longer.
    """
    known: Sequence[Size | None] = sizes or [None] * len(seconds)
    of_size = {size: [s for s, other in zip(seconds, known, strict=True) if other == size] for size in set(known)}
    relative = [s / float(np.median(of_size[size])) for s, size in zip(seconds, known, strict=True)]
    spread = float(np.percentile(relative, 90) / np.percentile(relative, 50))
    return (f"calls spread widely, p90 is {spread:.1f}x p50",) if spread >= WIDE_SPREAD else ()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
