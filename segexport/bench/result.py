"""What a benchmark found: rows of figures, as data. JSON Schema: `segexport/data/bench.schema.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.bench.explanation import Explanation
from segexport.evaluation.bootstrap import Interval
from segexport.spec import to_json

SCHEMA = 2

REFERENCE_ENGINE = "pytorch"

_COARSENESS = {"fp32": 0, "bf16": 1, "fp16": 1, "int8": 2}


def coarseness(precision: str) -> int:
    """How much a precision rounds: 0 for fp32, 1 for bf16 and fp16, 2 for int8 and whatever else there is."""
    return _COARSENESS.get(precision, 2)


@dataclass(frozen=True)
class Timed:
    """One call: seconds of the whole and of the network alone, and the class map [H, W] (or best classes [k])."""

    whole: float
    network: float
    decision: npt.NDArray[np.generic]


@dataclass(frozen=True)
class Comparison:
    """A row beside another one of the same run, by name; the other is PyTorch, or a bundle of higher precision.

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

    `latency_ms` is the whole call (raw image to class map in the image's size), `network_ms` the engine's execution
    of its graph, or PyTorch's forward pass. `agreement` is that with PyTorch; `comparisons` has the others.
    """

    name: str
    engine: str
    version: str | None
    precision: str
    size: tuple[int, int]
    latency_ms: dict[str, float]
    network_ms: dict[str, float]
    throughput_ips: float
    miou: float | None
    pixel_accuracy: float | None
    per_class_iou: dict[str, float | None] | None
    agreement: float | None
    size_bytes: int
    peak_memory_bytes: int
    verdict: str
    notes: tuple[str, ...] = ()
    miou_interval: Interval | None = None
    comparisons: tuple[Comparison, ...] = ()

    @property
    def is_reference(self) -> bool:
        """Whether this is PyTorch, and no bundle."""
        return self.engine == REFERENCE_ENGINE


@dataclass(frozen=True)
class Result:
    """A whole benchmark: the conditions and the rows, the reference first where there is one.

    `explanation` says where bundles differ, if that was asked for (`segexport.bench.explain`).
    """

    machine: dict[str, Any]
    data: dict[str, Any]
    reference: str | None
    random_weights: bool
    rows: tuple[Row, ...]
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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
