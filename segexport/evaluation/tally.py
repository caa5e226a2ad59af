"""Sums over images and over all their resamples: a few matrices, however many images there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segexport.evaluation.bootstrap import RESAMPLES, Interval, interval_of
from segexport.evaluation.folder import Image
from segexport.evaluation.metrics import Floats, intersection_over_union, mean_over_occurring
from segexport.evaluation.resampling import times_drawn

Ints = npt.NDArray[np.int64]

BUDGET = 256 * 2**20
"""Bytes that the sums of one pass over the records may take; what needs more takes more passes."""

_BUFFERED = 64
"""Images whose counts wait for one matrix product."""


@dataclass(frozen=True)
class Cell:
    """What is summed together, and how an image counts: int64 [subjects, rows, classes], None if it does not.

    Rows 0 to 2 are pixels hit, of the truth and predicted, 3 to 5 the same of boundaries.
    """

    name: str
    condition: int
    rows: int
    counts: Callable[[Image], Ints | None]


class Tally:
    """The sums of one cell: `totals` [subjects, rows, classes], and `drawn` [resamples, subjects, rows, classes]."""

    def __init__(self, cell: Cell, subjects: int, classes: int, resamples: int = RESAMPLES) -> None:
        self.cell = cell
        shape = (subjects, cell.rows, classes)
        self.totals = np.zeros(shape, np.int64)
        self.drawn = np.zeros((resamples, *shape))  # whole numbers below 2^53: exact in any order of summation
        self.images = 0
        self.counted = 0
        """Images with any pixel whose truth is known."""
        self.shown = np.zeros((subjects, subjects, classes), np.int64)
        """Images on which either of two subjects shows a class, or the truth does."""
        self._buffer = np.zeros((_BUFFERED, *shape))

    def hold(self, place: int, image: Image) -> None:
        """Count an image, and keep its counts for the next `flush`."""
        counts = self.cell.counts(image)
        if counts is None:
            self._buffer[place] = 0
            return
        self._buffer[place] = counts
        self.totals += counts
        self.images += 1
        self.counted += bool(counts[0, 1].any())
        occurs = counts[:, :3].max(1) > 0
        self.shown += occurs[:, None] | occurs[None]

    def flush(self, times: Floats) -> None:
        """Add what is held to the resamples, which hold those images `times` [held, resamples] each."""
        held = self._buffer[: len(times)].reshape(len(times), -1)
        self.drawn += (times.T @ held).reshape(self.drawn.shape)

    def interval(self, figure: Callable[[Ints | Floats], Floats], subject: int, against: int | None = None) -> Interval:
        """A figure over all images, a function of [..., rows, classes] -> [...]; minus another subject's, if told."""
        value, drawn = figure(self.totals[subject]), figure(self.drawn[:, subject])
        if against is not None:
            value, drawn = value - figure(self.totals[against]), drawn - figure(self.drawn[:, against])
        return interval_of(float(value), drawn, self.counted)

    def class_intervals(
        self, figure: Callable[[Ints | Floats], Floats], subject: int, against: int | None = None
    ) -> tuple[Interval, ...]:
        """As `interval` for a function [..., rows, classes] -> [..., classes]: one interval a class."""
        values, drawn = figure(self.totals[subject]), figure(self.drawn[:, subject])
        if against is not None:
            values, drawn = values - figure(self.totals[against]), drawn - figure(self.drawn[:, against])
        shown = self.shown[subject, subject if against is None else against]
        return tuple(interval_of(float(v), drawn[:, c], int(shown[c])) for c, v in enumerate(values))


def tally(
    images: Callable[[set[int]], Iterable[Image]],
    cells: Sequence[Cell],
    count: int,
    subjects: int,
    classes: int,
    done: Callable[[Tally], None],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> None:
    """Sum every cell over `count` images, and hand each to `done`, after which it is dropped.

    Args:
        images: the images in order, with their records of the conditions given; read once a pass.
        cells: what is summed; in as many passes as memory asks for, each with the same draws.
        count: how many images there are.
        subjects: how many subjects each record has.
        classes: how many classes there are.
        done: takes the tally of one cell; called in their order.
        seed: of the draws.
        resamples: how many draws.
    """
    block: list[Cell] = []
    size = 0
    for cell in [*cells, None]:
        more = 0 if cell is None else resamples * subjects * cell.rows * classes * 8
        if block and (cell is None or size + more > BUDGET):
            tallies = [Tally(one, subjects, classes, resamples) for one in block]
            _one_pass(images({one.condition for one in block}), tallies, times_drawn(count, resamples, seed))
            for found in tallies:
                done(found)
            block, size = [], 0
        if cell is not None:
            block.append(cell)
            size += more


def _one_pass(images: Iterable[Image], tallies: Sequence[Tally], times: Iterable[Ints]) -> None:
    waiting: list[Ints] = []
    for image, drawn in zip(images, times, strict=True):
        for one in tallies:
            one.hold(len(waiting), image)
        waiting.append(drawn)
        if len(waiting) == _BUFFERED:
            _flush(tallies, waiting)
    if waiting:
        _flush(tallies, waiting)


def _flush(tallies: Sequence[Tally], waiting: list[Ints]) -> None:
    times = np.array(waiting, np.float64)
    for one in tallies:
        one.flush(times)
    waiting.clear()


def iou(counts: Ints | Floats) -> Floats:
    """IoU per class of [..., rows, classes]."""
    return intersection_over_union(counts[..., 0, :], counts[..., 1, :], counts[..., 2, :])


def boundary_iou(counts: Ints | Floats) -> Floats:
    """Boundary IoU per class of [..., 6, classes]."""
    return intersection_over_union(counts[..., 3, :], counts[..., 4, :], counts[..., 5, :])


def accuracy(counts: Ints | Floats) -> Floats:
    """Share of each class's pixels that were found, [..., classes]; NaN for classes without any."""
    hits, truth = counts[..., 0, :], counts[..., 1, :]
    share = np.full(truth.shape, np.nan)
    np.divide(hits, truth, out=share, where=truth > 0)
    return share


def miou(counts: Ints | Floats) -> Floats:
    """Mean IoU over the classes that occur, [...]."""
    return mean_over_occurring(iou(counts))


def boundary_miou(counts: Ints | Floats) -> Floats:
    """Mean boundary IoU over the classes that occur, [...]."""
    return mean_over_occurring(boundary_iou(counts))


def mean_accuracy(counts: Ints | Floats) -> Floats:
    """mmsegmentation's mAcc: mean of `accuracy` over the classes with pixels, [...]."""
    return mean_over_occurring(accuracy(counts))


def pixel_accuracy(counts: Ints | Floats) -> Floats:
    """mmsegmentation's aAcc: share of all counted pixels that are right, [...]."""
    hits, truth = counts[..., 0, :].sum(-1), counts[..., 1, :].sum(-1)
    share = np.full(np.shape(truth), np.nan)
    np.divide(hits, truth, out=share, where=truth > 0)
    return share
