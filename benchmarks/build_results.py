"""What builds cost, as data, as JSON and as a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.build_cases import Case
from benchmarks.run import slug
from benchmarks.whole_process import Cost

SCHEMA = 1
QUIET = 0.1
"""Other processes may use this share of the machine before a figure is doubtful."""

_COLUMNS = (
    "case",
    "side",
    "runs",
    "s",
    "min-max",
    "times as fast",
    "plan s",
    "times as fast without it",
    "largest process MB",
    "min-max",
    "share",
    "all processes MB",
)
_WORDS = 2
"""The first columns are words, the others figures."""


@dataclass(frozen=True)
class Spread:
    """Some measurements of the same thing."""

    median: float
    least: float
    most: float


@dataclass
class CaseResult:
    """What was measured of a case, by side; and one line for each side that failed."""

    case: Case
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for side in self.case.sides:
            self.costs.setdefault(side, [])

    def to_json(self) -> dict[str, Any]:
        """Every measurement, the spreads, and the ratios."""
        sides = {
            side: {
                "runs": [asdict(cost) for cost in costs],
                "seconds": asdict(spread(costs, seconds)) if costs else None,
                "largest_bytes": asdict(spread(costs, largest)) if costs else None,
                "failed": self.failed.get(side),
            }
            for side, costs in self.costs.items()
        }
        return {"name": self.case.name, "what": self.case.what, "sides": sides, "ratios": ratios(self)}


@dataclass
class Run:
    """A whole run."""

    started: str
    machine: Mapping[str, Any]
    sides: Mapping[str, Mapping[str, Any]]
    """What each side is: its commit, if it has one, and the versions it runs on."""
    cases: Sequence[CaseResult]
    left_out: list[str]
    minutes: float = 0.0

    def write(self, folder: Path, names: Sequence[str]) -> Path:
        """JSON and Markdown, called after the cases asked for by name, too; their common path without a suffix."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "-".join([self.started[:10], slug(self.machine["processor"]), "build", *names])
        facts = {name: value for name, value in vars(self).items() if name != "cases"}
        content = {"schema": SCHEMA, **facts, "cases": [result.to_json() for result in self.cases]}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        path.with_name(f"{path.name}.json").write_text(text, encoding="utf-8")
        path.with_name(f"{path.name}.md").write_text(render(self), encoding="utf-8")
        return path


Figure = Callable[[Cost], float]


def seconds(cost: Cost) -> float:
    """Of the whole process."""
    return cost.seconds


def without_plan(cost: Cost) -> float:
    """Seconds without those in which TensorRT's builder ran."""
    return cost.seconds - (cost.watched_seconds or 0.0)


def largest(cost: Cost) -> float:
    """Bytes of the largest process."""
    return float(cost.largest_bytes)


def spread(costs: Iterable[Cost], figure: Figure) -> Spread:
    """A figure of some measurements."""
    values = [figure(cost) for cost in costs]
    return Spread(statistics.median(values), min(values), max(values))


def ratios(result: CaseResult) -> dict[str, float] | None:
    """How many times as fast the second side is, and its share of the first one's memory; None if one is missing."""
    first, second = (result.costs[side] for side in result.case.sides)
    if not first or not second:
        return None

    def medians(figure: Figure) -> tuple[float, float]:
        return spread(first, figure).median, spread(second, figure).median

    (slow, fast), (slow_rest, fast_rest), (large, small) = map(medians, (seconds, without_plan, largest))
    return {"times": slow / fast, "times_without_plan": slow_rest / fast_rest, "memory": small / large}


def render(run: Run) -> str:
    """The machine, the sides, one table, and what is to be known of its rows."""
    machine = run.machine
    about = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {run.minutes:.0f} minutes."
    lines = [f"# Builds measured {run.started}", "", f"{about} Only ratios within one run mean anything.", ""]
    lines += [f"- {side}: {_said(facts)}" for side, facts in run.sides.items()]
    lines += ["", f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * _WORDS + "--:|" * (len(_COLUMNS) - _WORDS)]
    lines += [f"| {' | '.join(row)} |" for result in run.cases for row in _rows(result)]
    lines += ["", *(f"- {result.case.name}: {result.case.what}" for result in run.cases)]
    lines += [f"- {line}" for result in run.cases for line in _remarks(result)]
    lines += [f"- left out: {line}" for line in run.left_out]
    return "\n".join(lines) + "\n"


def _said(facts: Mapping[str, Any]) -> str:
    versions = [f"{name} {version}" for name, version in facts["versions"].items()]
    return ", ".join([facts["what"], *versions])


def _rows(result: CaseResult) -> list[list[str]]:
    """One line a side; ratios stand in the second."""
    found = ratios(result)
    rows = []
    for side, costs in result.costs.items():
        is_second = side == result.case.sides[1]
        cells = _cells(costs, found if is_second else None) if costs else ["-"] * (len(_COLUMNS) - _WORDS)
        rows.append([result.case.name, side, *cells])
    return rows


def _cells(costs: Sequence[Cost], found: Mapping[str, float] | None) -> list[str]:
    time, memory = spread(costs, seconds), spread(costs, largest)
    together = spread(costs, lambda cost: float(cost.all_bytes)).median
    plans = [cost.watched_seconds for cost in costs if cost.watched_seconds is not None]
    return [
        str(len(costs)),
        f"{time.median:.1f}",
        f"{time.least:.1f}-{time.most:.1f}",
        f"{found['times']:.2f}" if found else "-",
        f"{statistics.median(plans):.1f}" if plans else "-",
        f"{found['times_without_plan']:.2f}" if found and plans else "-",
        f"{memory.median / 1e6:.0f}",
        f"{memory.least / 1e6:.0f}-{memory.most / 1e6:.0f}",
        f"{found['memory']:.2f}" if found else "-",
        f"{together / 1e6:.0f}",
    ]


def _remarks(result: CaseResult) -> list[str]:
    """Sides that failed, and figures that other processes may have spoilt."""
    lines = [f"{result.case.name}: {side} failed: {why}" for side, why in result.failed.items()]
    for side, costs in result.costs.items():
        shares = [cost.others for cost in costs if cost.others > QUIET]
        if shares:
            doubtful = f"{len(shares)} of {len(costs)} measurements are doubtful"
            lines.append(
                f"{result.case.name}: {side}: {doubtful}: other processes used up to {max(shares):.0%} of the machine"
            )
    return lines
