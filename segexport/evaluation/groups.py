"""Images that have something in common: a value of the user's column, their brightness, or rows of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from segexport.errors import DataError
from segexport.evaluation.folder import Image
from segexport.evaluation.records import Score

BANDS = 4
"""Horizontal bands of an image, from the top: in a street scene what is further down is nearer."""

FEWEST = 5
"""Groups of fewer images are marked."""

MOST = 100
"""Values of a column that can be told apart in a table."""

BRIGHTNESS, ROW = "brightness", "row"

_NO_VALUE = "(none)"
_BAND_NAMES = ("top", "upper middle", "lower middle", "bottom")


@dataclass(frozen=True)
class Group:
    """A group, by its name: which images it has, and what of a subject's score."""

    by: str
    name: str
    has: Callable[[Image], bool]
    band: int | None = None

    def pairs(self, score: Score) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """The pairs of classes of a score that belong to the group, int64 [n, 3]."""
        return score.confusion if self.band is None else score.bands[self.band]


@dataclass
class Survey:
    """What one look at all images tells: how many, their brightness (8 bytes an image), the values of columns."""

    images: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    columns: dict[str, Counter[str]] = field(default_factory=dict)

    @staticmethod
    def of(images: Iterable[Image], by: Sequence[str]) -> Survey:
        """Look at every image."""
        found = Survey()
        for image in images:
            if image.bad is not None:
                found.bad.append((image.index, image.bad))
                continue
            found.images += 1
            record = image.records[0]
            if BRIGHTNESS in by:
                found.brightness.append(record.brightness)
            for name, value in (record.columns or {}).items():
                values = found.columns.setdefault(name, Counter())
                if value in values or len(values) <= MOST:
                    values[value] += 1
        return found


def groups_of(by: Sequence[str], survey: Survey) -> tuple[Group, ...]:
    """The groups of every column or statistic named, in that order.

    Raises:
        DataError: the images have no such column, or one with too many values.
    """
    found: list[Group] = []
    for name in dict.fromkeys(by):
        if name == ROW:
            found += [Group(ROW, what, lambda _: True, band) for band, what in enumerate(_BAND_NAMES)]
        elif name == BRIGHTNESS:
            found += _by_brightness(survey.brightness)
        else:
            found += _by_column(name, survey)
    return tuple(found)


def require_column(by: Sequence[str], columns: Iterable[str], what: str) -> None:
    """Refuse a name that is neither a statistic nor one of `columns`.

    Raises:
        DataError: names what there is.
    """
    known = set(columns)
    missing = next((name for name in by if name not in (BRIGHTNESS, ROW) and name not in known), None)
    if missing is not None:
        have = f"they have {', '.join(sorted(known))}" if known else "they have no columns"
        raise DataError(
            f"{what} have no column '{missing}' to group by ({have}): pass --columns FILE.csv, or --by with a column "
            f"there is, {BRIGHTNESS} or {ROW}"
        )


def _by_brightness(brightness: Sequence[float]) -> list[Group]:
    if not brightness:
        return []
    low, high = (round(float(edge), 1) for edge in np.quantile(brightness, (1 / 3, 2 / 3)))
    if low == high:
        return [Group(BRIGHTNESS, f"all near {low:.1f}", lambda _: True)]
    return [
        Group(BRIGHTNESS, f"dark (below {low:.1f})", lambda image: image.records[0].brightness < low),
        Group(BRIGHTNESS, f"middle ({low:.1f} to {high:.1f})", lambda image: low <= image.records[0].brightness < high),
        Group(BRIGHTNESS, f"bright ({high:.1f} and above)", lambda image: image.records[0].brightness >= high),
    ]


def _by_column(name: str, survey: Survey) -> list[Group]:
    require_column([name], survey.columns, "the images")
    values = survey.columns[name]
    if len(values) > MOST:
        raise DataError(
            f"column '{name}' has more than {MOST} values: group by one with fewer; what was evaluated is kept"
        )

    def has(value: str) -> Callable[[Image], bool]:
        return lambda image: (image.records[0].columns or {}).get(name, "") == value

    groups = [Group(name, value or _NO_VALUE, has(value)) for value in sorted(values)]
    if sum(values.values()) < survey.images and "" not in values:
        groups.append(Group(name, _NO_VALUE, has("")))
    return groups
