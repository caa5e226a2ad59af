"""What a run found, as data: machine, peak, and a row for every contender of every case."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peak import share
from benchmarks.scores import Score

SCHEMA = 1

REFERENCE = "hf-eager"
"""The contender that every agreement is with. Ratios are against this one and against:"""
SECOND_REFERENCE = "optimum-onnx"
OURS = "segexport-"


@dataclass(frozen=True)
class Row:
    """One contender of one case. Times are in milliseconds; None is "not measured"."""

    contender: str
    precision: str
    whole_ms: dict[str, float]
    """p10, p50 and p90 from the uint8 image in memory to the class map in the image's size."""
    network_ms: dict[str, float] | None
    """The same of the network alone."""
    calls: int
    peak_memory_bytes: int
    macs: int | None
    """Multiply-accumulates of the graph it executes."""
    agreement: float | None
    """Share of pixels, over all images, with the reference's class."""
    miou: float | None
    versions: dict[str, str]
    settings: str = ""
    size_bytes: int | None = None
    """Of the files it runs from."""
    share_of_peak: float | None = None


@dataclass(frozen=True)
class Absence:
    """A contender without a row: left out beforehand, or failed at a stage; with the reason."""

    contender: str
    stage: str
    """`left out`, `environment`, `preparing`, `opening`, `warming up`, `calling` or `stopping`."""
    reason: str


@dataclass(frozen=True)
class CaseResult:
    """One case: its conditions, its rows in the contenders' order, and who is missing."""

    name: str
    model: str
    size: tuple[int, int]
    labels: int
    weights: str
    images: int
    calls: int
    rows: tuple[Row, ...]
    absent: tuple[Absence, ...]
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """By data set and contender, in a table of precisions."""


@dataclass(frozen=True)
class Run:
    """A whole run."""

    started: str
    minutes: float
    machine: Mapping[str, Any]
    peak: Mapping[str, Any]
    cases: Sequence[CaseResult]
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with ratios added to every row; NaN never appears."""
        content: dict[str, Any] = dataclasses.asdict(self)
        for case, found in zip(content["cases"], self.cases, strict=True):
            for entry, row in zip(case["rows"], found.rows, strict=True):
                entry["ratios"] = {name: ratios(row, other) for name, other in references(found).items()}
        plain: dict[str, Any] = _without_nan(content)
        return plain

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def references(case: CaseResult) -> dict[str, Row]:
    """The rows that the others are compared with, by name; those that are there."""
    found = [row for row in case.rows if row.contender in (REFERENCE, SECOND_REFERENCE)]
    ours = [row for row in case.rows if row.contender.startswith(OURS) and row.precision == "fp32"]
    if case.scores and ours:
        found.append(min(ours, key=lambda row: row.whole_ms["p50"]))
    return {row.contender: row for row in found}


def best_fp32(case: CaseResult) -> Row | None:
    """In a table of precisions, the fastest of segexport's own in fp32."""
    return next((row for name, row in references(case).items() if name.startswith(OURS)), None)


def ratios(row: Row, reference: Row) -> dict[str, float | None]:
    """How many times as fast as the reference, whole call and network, and its memory as a share of the reference's."""
    network = None
    if row.network_ms is not None and reference.network_ms is not None:
        network = reference.network_ms["p50"] / row.network_ms["p50"]
    return {
        "whole": reference.whole_ms["p50"] / row.whole_ms["p50"],
        "network": network,
        "memory": row.peak_memory_bytes / reference.peak_memory_bytes,
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p10, p50 and p90 in milliseconds."""
    return {f"p{p}": float(np.percentile(seconds, p) * 1e3) for p in (10, 50, 90)}


def with_shares(case: CaseResult, peak: Mapping[str, Any]) -> CaseResult:
    """The case with every row's share of the peak in its own precision, which is known at the end of a run."""
    rows = []
    for row in case.rows:
        seconds = row.network_ms["p50"] / 1e3 if row.network_ms else None
        rows.append(dataclasses.replace(row, share_of_peak=share(row.macs, seconds, peak.get(row.precision))))
    return dataclasses.replace(case, rows=tuple(rows))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
