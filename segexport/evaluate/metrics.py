"""Scores of class maps: mean IoU, pixel accuracy, agreement.

IoU follows the Pascal VOC and Cityscapes definition: one confusion matrix over all images, intersection over union
per class, the mean over classes that occur in ground truth or prediction. `pixel_accuracy` is mmsegmentation's aAcc.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segexport.images import UInt8
from segexport.spec import IGNORE_INDEX

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64] | Floats
"""Numbers of pixels: whole ones, which float64 holds exactly up to 2^53."""


def intersection_over_union(hits: Counts, truth: Counts, predicted: Counts) -> Floats:
    """IoU per class from pixel counts, all [..., classes]; NaN for classes in neither ground truth nor prediction."""
    union = (truth + predicted - hits).astype(np.float64)
    iou = np.full(union.shape, np.nan)
    np.divide(hits, union, out=iou, where=union > 0)
    return iou


def mean_over_occurring(iou: Floats) -> Floats:
    """Mean over the last axis of [..., classes], NaN left out; NaN where nothing but NaN is."""
    occurs = ~np.isnan(iou)
    count = occurs.sum(-1)
    mean = np.full(iou.shape[:-1], np.nan)
    np.divide(np.where(occurs, iou, 0.0).sum(-1), count, out=mean, where=count > 0)
    return mean


class ConfusionMatrix:
    """Counts of pixels, int64 [classes, classes]: rows are ground truth, columns predictions."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, truth: UInt8, prediction: UInt8) -> None:
        """Add one image: two uint8 [H, W] class maps; pixels whose truth is 255 are left out."""
        classes = len(self.counts)
        counted = truth != IGNORE_INDEX
        index = truth[counted].astype(np.int64) * classes + prediction[counted]
        self.counts += np.bincount(index, minlength=classes * classes).reshape(classes, classes)

    def iou(self) -> Floats:
        """Intersection over union per class, NaN for classes in neither ground truth nor prediction."""
        return intersection_over_union(np.diag(self.counts), self.counts.sum(1), self.counts.sum(0))

    def miou(self) -> float:
        """Mean of `iou` over the classes that occur; NaN when nothing was counted."""
        return float(mean_over_occurring(self.iou()))

    def pixel_accuracy(self) -> float:
        """Share of counted pixels whose class is right; NaN when nothing was counted."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else float("nan")


class Agreement:
    """Share of equal entries of two class maps, over all pixels of all images."""

    def __init__(self) -> None:
        self.equal = 0
        self.total = 0

    def update(self, one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> None:
        """Add one image's two class maps of the same shape."""
        self.equal += int(np.count_nonzero(one == other))
        self.total += one.size

    def share(self) -> float:
        """Between 0 and 1; NaN when nothing was counted."""
        return self.equal / self.total if self.total else float("nan")
