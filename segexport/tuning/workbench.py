"""Bundles built for a search, and what their benchmarks say. All latencies come from `segexport.bench`."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from segexport.bench import Row, benchmark
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
        self._higher: list[Bundle] = []

    def add_higher(self, precisions: Sequence[Precision]) -> None:
        """Build what INT8 has to beat on this engine: fp32, and bf16 where it computes in that."""
        for precision in precisions:
            if PORTABLE[precision] == "fp32":
                target = self._folder / precision
                self._higher.append(rebuild(self._source, target, engine=self._engine, precision=precision))

    def _build(self, name: str, names: Sequence[str]) -> Bundle:
        """A bundle with these layers in INT8."""
        return rebuild(
            self._source,
            self._folder / name,
            engine=self._engine,
            precision="int8",
            calibration=self._ranges,
            placement=Placement(tuple(names)),
        )

    def rounds(
        self, step: str, placements: Mapping[str, Sequence[str]], images: LabelledImages, progress: Progress
    ) -> Iterator[tuple[Row, ...]]:
        """Build the placements and measure them beside the higher precisions, so many at once; gives each round's rows.

        The first row is fp32's. `progress` is told how many calls of all rounds are done, behind the step's name.

        Raises:
            KeyboardInterrupt: by Ctrl-C; after the rows of what had been measured of that round.
        """
        names = list(placements)
        parts = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
        contenders = [len(self._higher) + len(part) for part in parts]
        done = ""
        for index, part in enumerate(parts):

            def called(
                calls: int, of: int, before: int = sum(contenders[:index]), now: int = contenders[index]
            ) -> None:
                nonlocal done
                call = f"call {calls + of * before // now} of {of * sum(contenders) // now}"
                done = f"{call}, "
                progress(f"{step}: {call}")

            built = []
            for name in part:
                progress(f"{step}: {done}building {name}")
                built.append(self._build(name, placements[name]))
            progress(f"{step}: {done}starting {contenders[index]} engines")
            result = benchmark(
                [*self._higher, *built], images, use_reference=False, threads=self._threads, progress=called
            )
            yield result.rows
            if result.interrupted:
                raise KeyboardInterrupt
            for bundle in built:
                shutil.rmtree(bundle.folder)


def measure_gains(
    bench: Workbench, groups: Mapping[str, Sequence[str]], images: LabelledImages, progress: Progress
) -> tuple[dict[str, float], float]:
    """Milliseconds that each group saves, and those of fp32."""
    few = Subset(images, range(min(_COST_IMAGES, len(images))), "the first")
    patterns = {f"pattern {number}": pattern for number, pattern in enumerate(cost.patterns(list(groups)))}
    layers = {name: [layer for group in pattern for layer in groups[group]] for name, pattern in patterns.items()}
    ratios: dict[tuple[str, ...], float] = {}
    base: list[float] = []
    for rows in bench.rounds("cost", layers, few, progress):
        base.append(rows[0].latency_ms["p50"])
        ratios |= {patterns[row.name]: row.latency_ms["p50"] / base[-1] for row in rows if row.name in patterns}
    fp32 = sorted(base)[len(base) // 2]
    measured = {(): fp32, **{pattern: ratio * fp32 for pattern, ratio in ratios.items()}}
    return cost.gains(list(groups), measured), fp32


def measure_candidates(
    bench: Workbench,
    placements: Mapping[str, Sequence[str]],
    predicted: Mapping[str, float],
    images: LabelledImages,
    progress: Progress,
) -> Iterator[Point]:
    """The higher precisions and every candidate, on all tuning images; latencies relative to fp32 in the same run."""
    seen: set[str] = set()
    base = None
    for rows in bench.rounds("candidates", placements, images, progress):
        base = base or rows[0].latency_ms["p50"]
        for row in rows:
            if row.name not in seen:
                seen.add(row.name)
                scale = base / rows[0].latency_ms["p50"]
                yield Point.of(row, rows[0], scale, len(placements.get(row.name, ())), predicted.get(row.name))


def measure_one(bench: Workbench, name: str, names: Sequence[str], images: LabelledImages, progress: Progress) -> Point:
    """One placement beside the higher precisions."""
    (rows,) = bench.rounds("confirming", {name: names}, images, progress)
    return Point.of(rows[-1], rows[0], 1.0, len(names), None)


def with_pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """The same, with those marked that no other is better than in both latency and mIoU."""
    losses = {point.name: -point.change for point in points}
    best = search.pareto(losses, {point.name: point.latency_ms for point in points})
    return tuple(dataclasses.replace(point, pareto=point.name in best) for point in points)
