"""Bundles built for a search, and what their benchmarks say. All latencies come from `segexport.bench`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segexport.bench import Result, benchmark
from segexport.bundle import Bundle
from segexport.datasets import LabelledImages, Subset
from segexport.lowering import PORTABLE
from segexport.precision.placement import Placement
from segexport.precision.ranges import Ranges
from segexport.rebuilder import rebuild
from segexport.spec import Precision
from segexport.tuning import cost, search
from segexport.tuning.result import Point

_COST_IMAGES = 20
_AT_ONCE = 7
"""Bundles in one benchmark, besides the higher precisions: each is a process with its own memory."""

Progress = Callable[[str], None]


class Workbench:
    """Bundles built for the search, in a folder that goes with it."""

    def __init__(self, folder: Path, source: Bundle, ranges: Ranges, engine: str, threads: int | None) -> None:
        self._folder = folder
        self._source = source
        self._ranges = ranges
        self._engine = engine
        self._threads = threads
        self.higher: list[Bundle] = []

    def add_higher(self, precisions: Sequence[Precision]) -> None:
        """Build what INT8 has to beat on this engine: fp32, and bf16 where it computes in that."""
        for precision in precisions:
            if PORTABLE[precision] == "fp32":
                target = self._folder / precision
                self.higher.append(rebuild(self._source, target, engine=self._engine, precision=precision))

    def build(self, name: str, names: Sequence[str]) -> Bundle:
        """A bundle with these layers in INT8."""
        return rebuild(
            self._source,
            self._folder / name,
            engine=self._engine,
            precision="int8",
            calibration=self._ranges,
            placement=Placement(tuple(names)),
            overwrite=True,
        )

    def run(self, bundles: Sequence[Bundle], images: LabelledImages) -> Result:
        """These beside the higher precisions."""
        return benchmark([*self.higher, *bundles], images, use_reference=False, threads=self._threads)


def measure_gains(
    bench: Workbench, groups: Mapping[str, Sequence[str]], images: LabelledImages, progress: Progress
) -> tuple[dict[str, float], float]:
    """Milliseconds that each group saves, and those of fp32."""
    few = Subset(images, range(min(_COST_IMAGES, len(images))), "the first")
    patterns = cost.patterns(list(groups))
    ratios: dict[tuple[str, ...], float] = {}
    base: list[float] = []
    for start in range(0, len(patterns), _AT_ONCE):
        progress(f"cost: measurement {start + 1} of {len(patterns)}")
        part = patterns[start : start + _AT_ONCE]
        built = [
            bench.build(f"pattern {index}", [name for group in pattern for name in groups[group]])
            for index, pattern in enumerate(part)
        ]
        rows = bench.run(built, few).rows
        base.append(rows[0].latency_ms["p50"])
        for pattern, row in zip(part, rows[-len(part) :], strict=True):
            ratios[pattern] = row.latency_ms["p50"] / base[-1]
    fp32 = sorted(base)[len(base) // 2]
    measured = {(): fp32, **{pattern: ratio * fp32 for pattern, ratio in ratios.items()}}
    return cost.gains(list(groups), measured), fp32


def measure_candidates(
    bench: Workbench,
    placements: Mapping[str, Sequence[str]],
    predicted: Mapping[str, float],
    images: LabelledImages,
    progress: Progress,
) -> tuple[Point, ...]:
    """Every candidate and the higher precisions, on all tuning images; latencies relative to fp32 in the same run."""
    found: dict[str, Point] = {}
    names = list(placements)
    base = None
    for start in range(0, len(names), _AT_ONCE):
        progress(f"candidates: {start + 1} of {len(names)}")
        part = names[start : start + _AT_ONCE]
        rows = bench.run([bench.build(name, placements[name]) for name in part], images).rows
        base = base or rows[0].latency_ms["p50"]
        for row in rows:
            scale = base / rows[0].latency_ms["p50"]
            point = Point.of(row, rows[0], scale, len(placements.get(row.name, ())), predicted.get(row.name))
            found.setdefault(row.name, point)
    losses = {name: -point.change for name, point in found.items()}
    best = search.pareto(losses, {name: point.latency_ms for name, point in found.items()})
    return tuple(dataclasses.replace(point, pareto=name in best) for name, point in found.items())


def measure_one(bench: Workbench, name: str, names: Sequence[str], images: LabelledImages) -> Point:
    """One placement beside the higher precisions."""
    rows = bench.run([bench.build(name, names)], images).rows
    return Point.of(rows[-1], rows[0], 1.0, len(names), None)
