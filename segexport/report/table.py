"""A benchmark as a table on the terminal, or as Markdown for a README."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from segexport.bench.result import Comparison, Result, Row
from segexport.evaluation.bootstrap import Interval
from segexport.report import explanation
from segexport.spec import format_size

_THROUGHPUT = "images/s"
_COLUMNS = (
    "name",
    "engine",
    "precision",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "network ms",
    _THROUGHPUT,
    "memory MB",
    "size MB",
    "mIoU %",
    "pixels %",
    "agreement %",
)
_WORDS = 3
"""The first columns are words, the others figures."""

_COMPARED = ("name", "beside", "x as fast", "mIoU points", "agreement %", "classes lost")


def table(result: Result, width: int) -> Table:
    """One row a contender where `width` characters allow it, one column a contender otherwise.

    Latency is the whole call, image in, class map out; `pixels %` is pixel accuracy, `agreement %` the share of
    pixels with the reference's class.
    """
    columns, cells = _columns(result), [_cells(row) for row in result.rows]
    wide = sum(max(map(len, column)) + 2 for column in zip(columns, *cells, strict=True))
    drawn = Table(
        title=title(result), caption=caption(result), title_justify="left", caption_justify="left", box=SIMPLE
    )
    if wide + len(columns) <= width:
        for index, column in enumerate(columns):
            drawn.add_column(column, justify="left" if index < _WORDS else "right", no_wrap=True)
        for row in cells:
            drawn.add_row(*row)
    else:
        drawn.add_column("")
        for row in cells:
            drawn.add_column(row[0], justify="right", overflow="fold")
        for figures in list(zip(columns, *cells, strict=True))[1:]:
            drawn.add_row(*figures)
    return drawn


def per_class_table(result: Result) -> Table | None:
    """IoU in per cent, a column a contender; None where nothing was scored."""
    scored = [(row.name, row.per_class_iou) for row in result.rows if row.per_class_iou is not None]
    if not scored:
        return None
    drawn = Table(title="IoU % by class", title_justify="left", box=SIMPLE)
    drawn.add_column("class")
    for name, _ in scored:
        drawn.add_column(name, justify="right", overflow="fold")
    for label in scored[0][1]:
        drawn.add_row(label, *(_percent(iou[label], 2) for _, iou in scored))
    return drawn


def markdown(result: Result) -> str:
    """The same table in Markdown, below it the verdicts and what bundles are beside those of higher precision.

    Last, where it was asked for, the explanation.
    """
    columns = _columns(result)
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * _WORDS + "--:|" * (len(columns) - _WORDS),
        *("| " + " | ".join(_cells(row)) + " |" for row in result.rows),
        "",
        *(f"- {line}" for line in verdicts(result)),
        "",
        *_comparisons(result),
        f"{title(result)}. {caption(result)}.",
    ]
    if result.explanation is not None:
        lines += ["", *explanation.markdown(result.explanation)]
        lines.pop()  # an empty line
    return "\n".join(lines) + "\n"


def verdicts(result: Result) -> list[str]:
    """A sentence for each row but the reference's, with its notes; then those of the whole run."""
    lines = []
    for row in result.rows:
        text = "; ".join((row.verdict, *row.notes))
        if row.verdict != "the reference" or row.notes:
            lines.append(f"{row.name}: {text}")
    return [*lines, *(f"note: {note}" for note in result.notes)]


def _comparisons(result: Result) -> list[str]:
    """A Markdown table of bundles beside others, with 95 % intervals; empty where there is one precision."""
    references = {row.name for row in result.rows if row.is_reference}
    pairs = [(row, c) for row in result.rows for c in row.comparisons if c.against not in references]
    if not pairs:
        return []
    lines = [
        "| " + " | ".join(_COMPARED) + " |",
        "|---|---|--:|--:|--:|---|",
        *("| " + " | ".join(_compared(row, c)) + " |" for row, c in pairs),
    ]
    return [*lines, ""]


def _compared(row: Row, comparison: Comparison) -> tuple[str, ...]:
    change = comparison.miou_change
    return (
        row.name,
        comparison.against,
        _with_ends(comparison.speedup, 1, ".2f"),
        "-" if change is None else _with_ends(change, 100, "+.2f"),
        _percent(comparison.agreement, 3),
        ", ".join(comparison.lost_classes) or "-",
    )


def _with_ends(interval: Interval, scale: float, form: str) -> str:
    ends = (f"{end * scale:{form}}" for end in (interval.low, interval.high) if end is not None)
    joined = " to ".join(ends)
    return f"{interval.value * scale:{form}}" + (f" ({joined})" if joined else "")


def title(result: Result) -> str:
    """What was measured, and on what."""
    sizes = ", ".join(dict.fromkeys(format_size(row.size) for row in result.rows))
    weights = "random weights, " if result.random_weights else ""
    images = result.data["images"]
    return f"{weights}{images} image{'s' * (images != 1)}, network {sizes}"


def caption(result: Result) -> str:
    """The machine and versions the figures hold for."""
    threads = result.machine["threads"]
    count = f"{threads} threads" if isinstance(threads, int) else "default threads"
    versions = ", ".join(dict.fromkeys(f"{row.engine} {row.version}" for row in result.rows))
    machine = f"{versions}; {result.machine['processor']}, {result.machine['cores']} cores, {count}"
    return f"{machine}; only ratios within one run mean anything"


def _columns(result: Result) -> list[str]:
    """The columns' names; images a second are of one caller, unless the name says otherwise."""
    callers = f"images/s, {result.concurrency} callers"
    return [callers if name == _THROUGHPUT and result.concurrency > 1 else name for name in _COLUMNS]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.engine,
        row.precision,
        *(f"{row.latency_ms[p]:.1f}" for p in ("p50", "p90", "p99")),
        f"{row.network_ms['p50']:.1f}",
        "-" if row.throughput is None else f"{row.throughput:.1f}",
        f"{row.peak_memory_bytes / 1e6:.0f}",
        f"{row.size_bytes / 1e6:.1f}",
        _percent(row.miou, 2),
        _percent(row.pixel_accuracy, 2),
        _percent(row.agreement, 3),
    )


def _percent(value: float | None, digits: int) -> str:
    if value is None or value != value:
        return "-"
    # Rounding must not turn "nearly all" into "all".
    text = f"{value * 100:.{digits}f}"
    return f"{100 - 10**-digits:.{digits}f}" if value < 1 and text.startswith("100") else text
