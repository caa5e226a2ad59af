"""How sure a difference is: the paired bootstrap over images (mIoU) and over calls (speed-ups).

A data set is drawn again from itself, image by image with replacement, as often as asked; both networks are scored on
the same draw, so that hard images weigh on both alike. The 2.5th and 97.5th percentile of the differences are the 95 %
interval (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segexport.evaluation.metrics import ConfusionMatrix, Floats, intersection_over_union, mean_over_occurring
from segexport.images import UInt8

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)

_CHUNK = 250
"""Resamples held in memory at once."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; `low` and `high` are None where one image (or one call) tells of no spread.

    The interval always holds the figure itself: a percentile interval need not, when classes are so rare that most
    draws miss them, and is then stretched to it.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None

    def below(self, bound: float) -> bool:
        """Whether the whole interval lies below `bound`; False without an interval."""
        return self.high is not None and self.high < bound

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`; False without an interval."""
        return self.low is not None and self.low > bound


class ImageCounts:
    """Pixels hit, in ground truth and predicted, per image and class: all that any mean over the images needs."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._images: list[npt.NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self._images)

    def update(self, truth: UInt8, prediction: UInt8) -> None:
        """Add one image: two uint8 [H, W] class maps; pixels whose truth is 255 are left out."""
        matrix = ConfusionMatrix(self.classes)
        matrix.update(truth, prediction)
        counts = matrix.counts
        self._images.append(np.stack([np.diag(counts), counts.sum(1), counts.sum(0)]))

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Hits, pixels of the truth and predicted pixels: int64 [3, images, classes]."""
        shape = (len(self), 3, self.classes)  # of an empty list, too
        return np.ascontiguousarray(np.array(self._images, np.int64).reshape(shape).swapaxes(0, 1))

    def iou(self) -> Floats:
        """Intersection over union per class, as `ConfusionMatrix.iou` over all images."""
        return intersection_over_union(*self.counts.sum(1))

    def miou(self) -> float:
        """Mean over the classes that occur, as `ConfusionMatrix.miou` over all images."""
        return float(mean_over_occurring(self.iou()))

    def pixel_accuracy(self) -> float:
        """Share of counted pixels whose class is right; NaN when nothing was counted."""
        hits, truth, _ = self.counts.sum((1, 2))
        return float(hits / truth) if truth else float("nan")


@dataclass(frozen=True)
class IouChange:
    """What one network gains over another, as fractions: in mIoU, and in each class's IoU."""

    miou: Interval
    classes: tuple[Interval, ...]


def paired_iou(one: ImageCounts, other: ImageCounts, resamples: int = RESAMPLES, seed: int = 0) -> IouChange:
    """`one` minus `other`, both scored on the same images, with intervals from the same draws of them.

    A class that fewer than two images show has no interval, and one that a network neither saw nor missed is NaN.

    Raises:
        ValueError: not the same images or classes.
    """
    counts, others = one.counts, other.counts
    if counts.shape != others.shape or not np.array_equal(counts[1], others[1]):
        raise ValueError("the two were not scored on the same images")
    ious = _resampled(counts, resamples, seed)
    other_ious = _resampled(others, resamples, seed)
    shown = ((counts + others).any(0)).sum(0)
    changes = ious - other_ious
    values = one.iou() - other.iou()
    return IouChange(
        interval_of(
            one.miou() - other.miou(),
            mean_over_occurring(ious) - mean_over_occurring(other_ious),
            _counted(counts),
        ),
        tuple(interval_of(float(values[c]), changes[:, c], int(shown[c])) for c in range(one.classes)),
    )


def paired_miou(one: ImageCounts, other: ImageCounts, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """mIoU of `one` minus that of `other`, as a fraction; see `paired_iou`."""
    return paired_iou(one, other, resamples, seed).miou


def miou_interval(counts: ImageCounts, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """One network's mIoU, as a fraction, on such images as these."""
    ious = _resampled(counts.counts, resamples, seed)
    return interval_of(counts.miou(), mean_over_occurring(ious), _counted(counts.counts))


def paired_ratio(one: Sequence[float], other: Sequence[float], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Median of `one` over median of `other`: seconds of interleaved calls, of which the i-th ran side by side.

    Raises:
        ValueError: not the same number of calls, or none.
    """
    seconds = np.array([one, other], np.float64)  # unequal lengths are refused here
    calls = seconds.shape[1]
    if not calls:
        raise ValueError("no calls to compare")
    rng = np.random.default_rng(seed)
    ratios = []
    for size in _chunks(resamples):
        drawn = np.median(seconds[:, rng.integers(calls, size=(size, calls))], axis=-1)
        ratios.append(drawn[0] / drawn[1])
    whole = np.median(seconds, axis=-1)
    return interval_of(float(whole[0] / whole[1]), np.concatenate(ratios), calls)


def _resampled(counts: npt.NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """IoU [resamples, classes] of data sets drawn from the images of `counts`; the same draws for the same seed."""
    images = counts.shape[1]
    if images == 0:
        return np.full((resamples, counts.shape[2]), np.nan)
    rng = np.random.default_rng(seed)
    exact = counts.astype(np.float64)  # matrix products of int64 are slow; sums below 2^53 stay whole numbers
    found = []
    for size in _chunks(resamples):
        times = rng.multinomial(images, np.full(images, 1 / images), size=size).astype(np.float64)
        found.append(intersection_over_union(*(times @ exact)))
    return np.concatenate(found)


def _chunks(resamples: int) -> Iterator[int]:
    for start in range(0, resamples, _CHUNK):
        yield min(_CHUNK, resamples - start)


def _counted(counts: npt.NDArray[np.int64]) -> int:
    """Images with any pixel whose truth is known."""
    return int(counts[1].any(-1).sum())


def interval_of(value: float, drawn: Floats, units: int) -> Interval:
    """The figure `value` with the percentiles of `drawn`, [resamples]; None for them where fewer than two `units` tell.

    NaN in `drawn` are draws in which nothing was to be scored.
    """
    scored = drawn[~np.isnan(drawn)]
    if units < 2 or np.isnan(value) or not scored.size:
        return Interval(value, None, None)
    low, high = np.percentile(scored, PERCENTILES)
    return Interval(value, min(float(low), value), max(float(high), value))
