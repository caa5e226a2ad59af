"""Where bundles differ from the baseline, as tables and sentences on the terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from segexport.bench.explanation import ClassChange, Explained, Explanation, ImageChange, PointNoise

_POINTS = ("point", "cosine", "max error", "SQNR dB")
_IMAGES = ("image", "changed %", "mIoU points")
_CLASSES = ("class", "IoU points", "95 % interval", "changed %", "mostly to")
_COSINE_DIGITS = 6


def parts(explanation: Explanation) -> Iterator[Table | str]:
    """For each bundle a table of points, what it says, and the images and classes that changed most."""
    for found in explanation.bundles:
        yield _table(title(found, explanation), _POINTS, map(_point, found.points))
        yield from sentences(found)
        if found.images:
            yield _table(f"{found.name}: images that changed most", _IMAGES, map(_image, found.images))
        if found.classes:
            yield _table(f"{found.name}: classes that changed most", _CLASSES, map(_class, found.classes))


def markdown(explanation: Explanation) -> list[str]:
    """The same as lines of Markdown."""
    lines = []
    for found in explanation.bundles:
        lines += [f"**{_escaped(title(found, explanation))}**", "", *_rows(_POINTS, map(_point, found.points))]
        lines += [f"- {_escaped(line)}" for line in sentences(found)]
        lines.append("")
        lines += _rows(_IMAGES, map(_image, found.images)) if found.images else []
        lines += _rows(_CLASSES, map(_class, found.classes)) if found.classes else []
    return lines


def title(found: Explained, explanation: Explanation) -> str:
    """What is beside what."""
    images = "1 image" if explanation.images == 1 else f"{explanation.images} images"
    return f"{found.name} beside {explanation.baseline}, {images}"


def sentences(found: Explained) -> list[str]:
    """Where most is lost, what was left out, and whether nothing was decided otherwise."""
    lines = [f"{found.name}: {found.verdict}", *(f"{found.name}: {note}" for note in found.notes)]
    if not found.images:
        lines.append(f"{found.name}: no image has another class anywhere")
    return lines


def _point(found: PointNoise) -> tuple[str, ...]:
    if found.not_finite:
        return (found.point, "-", "-", f"{found.not_finite} NaN or infinite")
    # Rounding must not turn "nearly the same" into "the same".
    cosine = "-" if found.cosine is None else _below_one(found.cosine, found.exact)
    sqnr = "-" if found.sqnr_db is None else f"{found.sqnr_db:.1f}"
    return (found.point, cosine, f"{found.max_error:.3g}", "exact" if found.exact else sqnr)


def _below_one(cosine: float, exact: bool) -> str:
    text = f"{cosine:.{_COSINE_DIGITS}f}"
    return text if exact or not text.startswith("1") else f"{1 - 10**-_COSINE_DIGITS:.{_COSINE_DIGITS}f}"


def _image(found: ImageChange) -> tuple[str, ...]:
    change = "-" if found.miou_change is None else f"{found.miou_change * 100:+.2f}"
    return (found.name, _percent(found.changed), change)


def _class(found: ClassChange) -> tuple[str, ...]:
    change = found.iou_change
    value = "-" if change is None else f"{change.value * 100:+.2f}"
    ends = "-"
    if change is not None and change.low is not None and change.high is not None:
        ends = f"{change.low * 100:+.2f} to {change.high * 100:+.2f}"
    mostly = "-" if found.became is None else f"{found.became} ({_percent(found.became_share)} %)"
    return (found.name, value, ends, _percent(found.changed), mostly)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.3f}"


def _table(heading: str, columns: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Table:
    drawn = Table(title=Text(heading), title_justify="left", box=SIMPLE)
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 or column == columns[-1] == "mostly to" else "right")
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _rows(columns: Sequence[str], rows: Iterator[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "--:|" * (len(columns) - 1)]
    return [*lines, *("| " + " | ".join(map(_escaped, row)) + " |" for row in rows), ""]


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")
