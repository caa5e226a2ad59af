"""An evaluation as tables and sentences on the terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from segexport.evaluation.bootstrap import Interval
from segexport.evaluation.groups import BANDS, FEWEST, ROW
from segexport.evaluation.result import Degradation, Difference, Evaluation
from segexport.evaluation.summary import pytorch_of
from segexport.spec import format_size

RANDOM = "random weights: accuracy means nothing"

_NAMED_SKIPPED = 5

_MANY = 5
"""Corruptions among which chance alone may make one stand out."""

_FEW_IMAGES = 30


@dataclass(frozen=True)
class Grid:
    """A table as text: the first `words` columns are words, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    notes: tuple[str, ...] = ()

    def drawn(self, width: int) -> Table:
        """For the terminal; turned on its side, a column for each row, where it is wider than `width` characters."""
        caption = "; ".join(self.notes) or None
        table = Table(title=self.title, title_justify="left", caption=caption, caption_justify="left", box=SIMPLE)
        heads, rows, words = self.columns, self.rows, self.words
        if _width([heads, *rows]) > width and len(rows) < len(heads):
            (_, *heads_), *rows_ = zip(heads, *rows, strict=True)
            heads, rows, words = ("", *heads_), tuple(rows_), 1
        if _width([heads, *rows]) > width:  # intervals below their figures
            rows = tuple((*row[:words], *(cell.replace(" (", "\n(") for cell in row[words:])) for row in rows)
        for number, column in enumerate(heads):
            table.add_column(column, justify="left" if number < words else "right")
        for row in rows:
            table.add_row(*row)
        return table

    def markdown(self) -> Iterator[str]:
        """The same in Markdown."""
        yield from (f"**{self.title}**", "")
        yield "| " + " | ".join(self.columns) + " |"
        yield "|" + "---|" * self.words + "--:|" * (len(self.columns) - self.words)
        for row in self.rows:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        yield ""
        if self.notes:
            yield from (f"{'; '.join(self.notes)}.", "")


def grids(found: Evaluation) -> Iterator[Grid]:
    """Every table there is something to say in: classes, groups, robustness, differences, and last the subjects."""
    if not found.subjects:
        return
    if any(one.figures for one in found.subjects):
        yield _classes(found)
    for by in dict.fromkeys(group.by for group in found.groups):
        yield _groups(found, by)
    if found.robustness is not None and found.robustness.conditions:
        yield _corruptions(found)
        yield _severities(found)
    if found.differences:
        yield _differences(found)
    yield _subjects(found)


def lines(found: Evaluation) -> Iterator[str]:
    """What the tables do not say: what is missing or was left out, the largest confusions, what robustness shows."""
    if not found.subjects:
        for shard in found.missing:
            yield f"missing    shard {shard.shard}: {_count(shard.images, 'image')}; run it with --shard {shard.shard}"
        yield f"records    {found.folder}"
        return
    yield from (f"{one.name}: {RANDOM}" for one in found.subjects if one.figures is None)
    yield from _confusions(found)
    yield from _sizes(found)
    if found.robustness is not None:
        yield from found.robustness.findings
        if len(found.robustness.corruptions) >= _MANY and found.robustness.findings:
            yield f"note: of {len(found.robustness.corruptions)} corruptions, one may look different by chance alone"
    if found.skipped:
        yield f"left out   {_count(len(found.skipped), 'image')} that could not be used"
        for skipped in found.skipped[:_NAMED_SKIPPED]:
            yield f"           image {skipped.index}: {skipped.why}"
        if len(found.skipped) > _NAMED_SKIPPED:
            yield f"           and {len(found.skipped) - _NAMED_SKIPPED} more, in the JSON"
    if found.done_before:
        yield f"resumed    {_count(found.done_before, 'image')} done already"
    yield f"records    {found.folder}"
    if not found.complete:
        yield f"stopped    after {found.progress}: these figures are of those alone, and no file gets them"
        yield "           the same command goes on from there (without --overwrite, which begins anew)"


def _confusions(found: Evaluation) -> Iterator[str]:
    """A line for each pair of classes that one of the subjects confuses most, with every subject's share."""
    scored = [(one.name, one.figures) for one in found.subjects if one.figures is not None]
    number = {name: place for place, name in enumerate(found.classes)}
    for truth, predicted in dict.fromkeys((c.truth, c.predicted) for _, figures in scored for c in figures.confusions):
        row = [(name, figures.confusion[number[truth]]) for name, figures in scored]
        shares = [(name, f"{pixels[number[predicted]] / max(sum(pixels), 1) * 100:.0f} %") for name, pixels in row]
        first, *others = shares
        of = f"{first[1]} of {truth}'s pixels"
        if others:
            of += f" by {first[0]}, {', '.join(f'{share} by {name}' for name, share in others)}"
        yield f"{truth} seen as {predicted}: {of}"


def _sizes(found: Evaluation) -> Iterator[str]:
    """A line for each bundle whose PyTorch was shown images at another size: their difference is not the engine's."""
    every = [one.facts for one in found.subjects]
    for facts, place in zip(every, pytorch_of(every), strict=True):
        if place is not None and facts["size"] != every[place]["size"] and facts["size"] is not None:
            size = format_size((facts["size"][0], facts["size"][1]))
            yield (
                f"note: {facts['name']} has another network size than {every[place]['name']}: pass --size {size} to "
                "compare them at one"
            )


def markdown(found: Evaluation) -> str:
    """Tables and sentences in Markdown."""
    content = [line for grid in grids(found) for line in grid.markdown()]
    return "\n".join([*content, *(f"- {line.strip()}" for line in lines(found))]) + "\n"


def _subjects(found: Evaluation) -> Grid:
    boundary = bool(found.settings["boundary"])
    rows = []
    for one in found.subjects:
        facts, figures = one.facts, one.figures
        size = "image's" if facts["size"] is None else format_size((facts["size"][0], facts["size"][1]))
        cells = [one.name, str(facts["engine"]), str(facts["precision"]), size]
        shown: list[Interval | None] = [None] * 4
        if figures is not None:
            shown = [figures.miou, figures.mean_accuracy, figures.pixel_accuracy, figures.boundary_miou]
        rows.append((*cells, *(with_ends(one) for one in shown[: 4 if boundary else 3])))
    columns = ("name", "engine", "precision", "network", "mIoU %", "mAcc %", "aAcc %", "boundary mIoU %")
    data = found.settings["data"]
    left_out = f", {len(found.skipped)} left out" if found.skipped else ""
    split = f" ({data['split']})" if data["split"] else ""
    notes = ["in brackets 95 % intervals, by drawing the images again"]
    if found.images < _FEW_IMAGES:
        notes.append(f"of fewer than {_FEW_IMAGES} images they are too narrow")
    shown_as = ", ".join(dict.fromkeys(str(one.facts["protocol"]) for one in found.subjects))
    images = _count(found.images, "image") if found.complete else f"partial, after {found.progress}"
    return Grid(
        f"{images} of {data['path']}{split}{left_out}; {shown_as}",
        columns if boundary else columns[:-1],
        tuple(rows),
        words=4,
        notes=tuple(notes),
    )


def _differences(found: Evaluation) -> Grid:
    boundary = bool(found.settings["boundary"])

    def cells(one: Difference) -> tuple[str, ...]:
        shown = (one.miou, one.mean_accuracy, one.pixel_accuracy, one.boundary_miou)
        return (one.subject, one.against, *(with_ends(i, "+.2f") for i in shown[: 4 if boundary else 3]))

    columns = ("name", "minus", "mIoU points", "mAcc points", "aAcc points", "boundary mIoU points")
    return Grid(
        "differences, on the same draws of images",
        columns if boundary else columns[:-1],
        tuple(cells(one) for one in found.differences),
        words=2,
    )


def _classes(found: Evaluation) -> Grid:
    scored = [(one.name, one.figures) for one in found.subjects if one.figures is not None]
    pixels = [c.pixels for c in scored[0][1].classes]
    total = max(sum(pixels), 1)
    rows = tuple(
        (name, _percent(pixels[c] / total, 2), *(with_ends(figures.classes[c].iou) for _, figures in scored))
        for c, name in enumerate(found.classes)
        if pixels[c] or any(figures.classes[c].iou.value == 0 for _, figures in scored)
    )
    absent = len(found.classes) - len(rows)
    notes = (f"not shown: {_count(absent, 'class')} in neither masks nor class maps",) if absent else ()
    return Grid("IoU % by class", ("class", "pixels %", *(name for name, _ in scored)), rows, notes=notes)


def _groups(found: Evaluation, by: str) -> Grid:
    groups = [group for group in found.groups if group.by == by]
    rows = tuple(
        (
            f"{group.group} *" if group.few else group.group,
            str(group.images),
            *(with_ends(score.miou) for score in group.subjects),
        )
        for group in groups
    )
    notes = (f"* fewer than {FEWEST} images: too few to rely on",) if any(group.few for group in groups) else ()
    names = tuple(score.subject for score in groups[0].subjects)
    what = f"{by} ({BANDS} bands of equal height)" if by == ROW else by
    return Grid(f"mIoU % by {what}", (by, "images", *names), rows, notes=notes)


def _corruptions(found: Evaluation) -> Grid:
    """A row for each corruption: mean mIoU over its severities, and the share of the clean one that is lost."""
    assert found.robustness is not None
    names = tuple(dict.fromkeys(one.subject for one in found.robustness.means))
    by = {(one.corruption, one.subject): one for one in found.robustness.means}
    beside = [name for name in names if by[None, name].against is not None]
    clean = {one.name: one.figures.miou if one.figures else None for one in found.subjects}
    rows = [("clean", *(_percent(_value(clean[name]), 2) for name in names), *("" for _ in beside))]
    for corruption in (*found.robustness.corruptions, None):
        cells = [f"{_percent(by[corruption, n].miou.value, 2)}, {_lost(by[corruption, n])}" for n in names]
        changes = [with_ends(by[corruption, n].degradation_change, "+.2f") for n in beside]
        rows.append((corruption or "all", *cells, *changes))
    severities = ", ".join(map(str, found.robustness.severities))
    return Grid(
        f"mIoU % under corruption, mean over severities {severities}, and the part of the clean mIoU that is lost",
        ("corruption", *names, *(f"{name} loses more than PyTorch, points" for name in beside)),
        tuple(rows),
    )


def _severities(found: Evaluation) -> Grid:
    """A row for each corruption and subject: mIoU at each severity, and what it is beside PyTorch."""
    assert found.robustness is not None
    by = {(one.corruption, one.severity, one.subject): one for one in found.robustness.conditions}
    severities = found.robustness.severities
    rows = []
    for corruption in found.robustness.corruptions:
        for name in dict.fromkeys(one.subject for one in found.robustness.conditions):
            each = [by[corruption, severity, name] for severity in severities]
            cells = (
                _percent(one.miou.value, 2)
                + ("" if one.difference is None else f" {with_ends(one.difference, '+.2f', bracketed=True)}")
                for one in each
            )
            rows.append((corruption, name, *cells))
    return Grid(
        "mIoU % at each severity; of bundles, in brackets, points beside PyTorch",
        ("corruption", "name", *map(str, severities)),
        tuple(rows),
        words=2,
    )


def with_ends(interval: Interval | None, form: str = ".2f", *, bracketed: bool = False) -> str:
    """A fraction as per cent or points, with the ends of its interval where there is one; "-" for none."""
    if interval is None or interval.value != interval.value:
        return "-"
    value = f"{interval.value * 100:{form}}"
    if interval.low is None or interval.high is None:
        return f"({value})" if bracketed else value
    ends = f"{interval.low * 100:{form}} to {interval.high * 100:{form}}"
    return f"({value}, {ends})" if bracketed else f"{value} ({ends})"


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _lost(one: Degradation) -> str:
    return f"−{_percent(one.degradation.value, 1)} %"


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _percent(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value * 100:.{digits}f}"


def parts(found: Evaluation, width: int) -> Sequence[Any]:
    """All that is printed, in order: tables for rich, of `width` characters if they can be, and lines."""
    return [*(grid.drawn(width) for grid in grids(found)), *lines(found)]


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Characters that a table takes when nothing in it is wrapped."""
    return sum(max(map(len, column)) + 3 for column in zip(*rows, strict=True))
