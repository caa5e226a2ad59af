"""What a search measured: latency against mIoU, as a table, as Markdown and as a picture."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from segexport.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    from segexport.tuning.result import Measured, Point, Tuning

NO_PICTURE = 'pareto.png is left out, because matplotlib is not installed: pip install "segexport[report]"'
_COLUMNS = ("placement", "layers", "p50 ms", "model ms", "x fp32", "mIoU %", "change", "")
_NOISIEST = 5


def parts(found: Measured) -> Iterator[Table | str]:
    """All that is printed: the table, once there is a row for it, and lines."""
    if found.points:
        yield table(found)
    yield from lines(found)


def table(found: Measured) -> Table:
    """A row a placement, the fastest first; `model ms` is what the cost model expected."""
    drawn = Table(
        title=f"{found.engine}, searched on {found.searched_on}, budget {found.budget:g} points",
        title_justify="left",
        box=SIMPLE,
    )
    for index, column in enumerate(_COLUMNS):
        left = index in (0, len(_COLUMNS) - 1)
        drawn.add_column(column, justify="left" if left else "right", no_wrap=index == 0)
    for cells in _rows(found):
        drawn.add_row(*cells)
    return drawn


def lines(found: Measured) -> Iterator[str]:
    """What was found, in sentences."""
    if found.noise:
        noisiest = sorted(found.noise, key=found.noise.__getitem__, reverse=True)[:_NOISIEST]
        yield f"noisiest   {', '.join(noisiest)}"
    if found.gains_ms:
        gains = sorted(found.gains_ms.items(), key=lambda entry: -entry[1])
        yield f"gains      {', '.join(f'{group} {gain:+.2f} ms' for group, gain in gains)}"
    for point in found.confirmed:
        yield (
            f"confirmed  {point.name} on {found.confirmed_on}: {_interval(point.speedup, 1, '.2f')}x fp32, "
            f"mIoU {_interval(point.change_interval, 100, '+.2f')} points"
        )
    yield f"finding    {found.why}"


def markdown(found: Tuning) -> str:
    """The table and the sentences."""
    rows = [
        "| " + " | ".join(_COLUMNS) + " |",
        "|---|" + "--:|" * (len(_COLUMNS) - 2) + "---|",
        *("| " + " | ".join(cells) + " |" for cells in _rows(found)),
    ]
    return "\n".join([*rows, "", *(f"- {line}" for line in lines(found))]) + "\n"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(found: Tuning, path: Path) -> None:
    """Latency against mIoU, a dot for each placement with its interval, the budget as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for point in found.points:
        colour = "tab:red" if point.name == found.chosen else "tab:blue" if point.precision == "int8" else "black"
        miou = point.miou * 100
        axes.errorbar(
            [point.latency_ms],
            [miou],
            yerr=_bars(point),
            fmt="D" if point.precision != "int8" else "o",
            color=colour,
            markerfacecolor=colour if point.pareto else "white",
        )
        axes.annotate(point.name, (point.latency_ms, miou), textcoords="offset points", xytext=(6, 4), fontsize=8)
    fp32 = next(point for point in found.points if point.precision == "fp32")
    axes.axhline(fp32.miou * 100 - found.budget, color="grey", linestyle="--", linewidth=1)
    axes.set_xlabel(f"whole call, median ms ({found.engine})")
    axes.set_ylabel("mIoU %, with the 95 % interval of its change")
    axes.set_title("INT8 placements; filled: no other is better in both; dashed: the budget", fontsize=10)
    figure.savefig(path, dpi=120)


def _rows(found: Measured) -> Iterator[tuple[str, ...]]:
    for point in sorted(found.points, key=lambda one: one.latency_ms):
        notes = ["pareto"] if point.pareto else []
        if -point.change * 100 > found.budget:
            notes.append("over the budget")
        elif point.precision == "int8" and not point.beats_higher:
            notes.append("no gain beyond noise")
        if point.name == found.chosen:
            notes.append("taken")
        yield (
            point.name,
            str(point.layers) if point.precision == "int8" else "-",
            f"{point.latency_ms:.1f}",
            "-" if point.predicted_ms is None else f"{point.predicted_ms:.1f}",
            f"{point.speedup.value:.2f}",
            f"{point.miou * 100:.2f}",
            "-" if point.precision == "fp32" else _interval(point.change_interval, 100, "+.2f"),
            ", ".join(notes),
        )


def _interval(interval: Interval | None, scale: float, form: str) -> str:
    if interval is None:
        return "-"
    value = format(interval.value * scale, form)
    if interval.low is None or interval.high is None:
        return value
    return f"{value} ({format(interval.low * scale, form)} to {format(interval.high * scale, form)})"


def _bars(point: Point) -> list[list[float]] | None:
    change = point.change_interval
    if change is None or change.low is None or change.high is None:
        return None
    return [[(change.value - change.low) * 100], [(change.high - change.value) * 100]]
