"""What a search found, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segexport.bench.result import Row
from segexport.evaluation.bootstrap import Interval
from segexport.lowering import PORTABLE
from segexport.precision.placement import Placement
from segexport.spec import Precision, to_json

SCHEMA = 1


@dataclass(frozen=True)
class Point:
    """A placement, or a higher precision, as measured.

    `change` is its mIoU minus fp32's, as a fraction, with an interval; `speedup` is fp32's median call over its own,
    `latency_ms` relative to fp32 in its own run. `beats_higher` says whether it is faster than every higher precision
    beyond noise, `pareto` whether no other is better in both latency and mIoU.
    """

    name: str
    precision: Precision
    layers: int
    latency_ms: float
    predicted_ms: float | None
    speedup: Interval
    miou: float
    change: float
    change_interval: Interval | None
    beats_higher: bool
    pareto: bool = False

    @staticmethod
    def of(row: Row, fp32: Row, scale: float, layers: int, predicted: float | None) -> Point:
        """A benchmark's row beside fp32's, its latency multiplied by `scale`."""
        beside = next((c for c in row.comparisons if c.against == fp32.name), None)
        own = row.miou if row.miou is not None else float("nan")
        wanted = fp32.miou if fp32.miou is not None else float("nan")
        return Point(
            name=row.name,
            precision=next(p for p in PORTABLE if p == row.precision),
            layers=layers,
            latency_ms=row.latency_ms["p50"] * scale,
            predicted_ms=predicted,
            speedup=beside.speedup if beside is not None else Interval(1.0, 1.0, 1.0),
            miou=own,
            change=own - wanted,
            change_interval=beside.miou_change if beside is not None else None,
            beats_higher=bool(row.comparisons) and all(c.speedup.above(1.0) for c in row.comparisons),
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a search has measured so far, whether it has ended or was stopped.

    `noise` is each layer's noise over signal at the logits, as power; `gains_ms` what each of the `groups` saves. `why`
    says what it ended in. `chosen` is the name of the placement taken, None where none is.
    """

    engine: str
    budget: float
    searched_on: str
    confirmed_on: str
    groups: Mapping[str, Sequence[str]]
    noise: Mapping[str, float] = field(default_factory=dict)
    gains_ms: Mapping[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    confirmed: tuple[Point, ...] = ()
    chosen: str | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Tuning(Measured):
    """A search that has ended: in a placement, or, where a higher precision is better, in one without layers."""

    placement: Placement

    def as_text(self) -> str:
        """Everything as JSON."""
        content: dict[str, Any] = {"schema": SCHEMA, **to_json(self)}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"
