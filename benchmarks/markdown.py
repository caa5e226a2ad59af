"""A run as Markdown: the machine, then one table a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.results import REFERENCE, SECOND_REFERENCE, CaseResult, Row, Run, best_fp32, ratios, references
from benchmarks.scores import Score
from segexport.evaluation.bootstrap import Interval

_COLUMNS = (
    "contender",
    "precision",
    "whole p50 ms",
    "p10-p90",
    "network p50 ms",
    "p10-p90",
    f"x {REFERENCE}",
    f"x {SECOND_REFERENCE}",
    f"network x {REFERENCE}",
    f"network x {SECOND_REFERENCE}",
    "memory MB",
    f"of {REFERENCE}'s",
    "GMAC",
    "of peak %",
    "agreement %",
    "mIoU %",
)
_WORDS = 2
"""The first columns are words, the others figures."""


def render(run: Run) -> str:
    """The whole run."""
    lines = [f"# Benchmark of {run.started}", "", *_conditions(run)]
    for case in run.cases:
        lines += ["", *_case(case)]
    return "\n".join(lines) + "\n"


def _conditions(run: Run) -> list[str]:
    machine = run.machine
    flags = ", ".join(machine["flags"]) or "none of interest"
    peaks = [
        f"{precision} {found['gflops']:.0f} GFLOP/s ({found['library']}, {found['shape']})"
        for precision, found in run.peak["best"].items()
    ]
    failed = [f"{library} has no figure for the peak: {reason}" for library, reason in run.peak["failed"].items()]
    return [
        f"{machine['processor']} ({flags}), {machine['cores']} cores, {machine['threads']} threads for everybody, "
        f"{machine['system']}; {run.minutes:.0f} minutes. Only ratios within one run mean anything.",
        "",
        f"Peak of the machine in this run: {'; '.join(peaks) or 'not measured'}.",
        *failed,
    ]


def _case(case: CaseResult) -> list[str]:
    height, width = case.size
    title = f"## {case.name}"
    what = f"{case.model} {height}x{width}, {case.labels} labels, {case.weights}; {case.calls} timed calls of each, "
    table = _precisions(case) if case.scores else _peers(case)
    lines = [title, "", f"{what}{case.images} images.", "", *table, ""]
    lines += [f"- {row.contender}: {_versions(row)}" for row in case.rows]
    lines += [f"- {absence.contender}: no row ({absence.stage}): {absence.reason}" for absence in case.absent]
    return lines


def _peers(case: CaseResult) -> list[str]:
    return _table(_COLUMNS, [_cells(row, references(case)) for row in case.rows])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * _WORDS + "--:|" * (len(columns) - _WORDS),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _precisions(case: CaseResult) -> list[str]:
    """What each precision costs and gains: scores on every set, then times beside the fastest of our own in fp32."""
    best = best_fp32(case)
    against = f"x {best.contender}" if best else "x"
    scores = [f"{figure} {name}" for name in case.scores for figure in ("mIoU %,", "change in points,", "agreement %,")]
    columns = ("contender", "precision", *scores, "whole p50 ms", "p10-p90", "network p50 ms", against, "MB on disk")
    rows = []
    for row in case.rows:
        found = [cell for of_set in case.scores.values() for cell in _score(of_set.get(row.contender))]
        whole, spread = _times(row.whole_ms)
        network, _ = _times(row.network_ms)
        ratio = _number(ratios(row, best)["whole"] if best else None, 2)
        rows.append((row.contender, row.precision, *found, whole, spread, network, ratio, _size(row.size_bytes)))
    baselines = {name for of_set in case.scores.values() for name, score in of_set.items() if score.change is None}
    sizes = ", ".join(
        f"{next(iter(of_set.values())).images} of {name}" for name, of_set in case.scores.items() if of_set
    )
    said = f"Scored on all images: {sizes}."
    if len(baselines) == 1:
        said += f" Changes, with their 95 % intervals, and agreement are against {baselines.pop()}."
    return [said, "", *_table(columns, rows)]


def _score(found: Score | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "-"
    return _percent(found.miou, 2), _points(found.change), _percent(found.agreement, 2)


def _points(change: Interval | None) -> str:
    if change is None:
        return "-"
    interval = f" ({change.low * 100:+.2f} to {change.high * 100:+.2f})" if change.known else ""
    return f"{change.value * 100:+.2f}{interval}"


def _size(size: int | None) -> str:
    return _number(size, 1, 1e-6)


def _cells(row: Row, compared: dict[str, Row]) -> tuple[str, ...]:
    against = {name: ratios(row, other) for name, other in compared.items()}
    first, second = against.get(REFERENCE, {}), against.get(SECOND_REFERENCE, {})
    return (
        row.contender,
        row.precision,
        *_times(row.whole_ms),
        *_times(row.network_ms),
        _number(first.get("whole"), 2),
        _number(second.get("whole"), 2),
        _number(first.get("network"), 2),
        _number(second.get("network"), 2),
        f"{row.peak_memory_bytes / 1e6:.0f}",
        _number(first.get("memory"), 2),
        _number(row.macs, 1, 1e-9),
        _number(row.share_of_peak, 0, 100),
        _percent(row.agreement, 3),
        _percent(row.miou, 2),
    )


def _times(found: dict[str, float] | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return f"{found['p50']:.1f}", f"{found['p10']:.1f}-{found['p90']:.1f}"


def _number(value: float | None, digits: int, factor: float = 1.0) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _percent(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    # Rounding must not turn "nearly all" into "all".
    text = f"{value * 100:.{digits}f}"
    return f"{100 - 10**-digits:.{digits}f}" if value < 1 and text.startswith("100") else text


def _versions(row: Row) -> str:
    parts: list[Any] = [f"{name} {version}" for name, version in row.versions.items()]
    return ", ".join([*parts, row.settings] if row.settings else parts)
