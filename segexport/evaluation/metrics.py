"""Scores of class maps: mean IoU, accuracies, agreement.

IoU follows the Pascal VOC and Cityscapes definition, which is mmsegmentation's `IoUMetric`: one confusion matrix over
all images, intersection over union per class, the mean over classes that occur in ground truth or prediction, in
float64. `pixel_accuracy` is its aAcc, `mean_accuracy` its mAcc.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segexport.errors import ContractError, DataError
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


def accuracy(hits: Counts, truth: Counts) -> Floats:
    """Share of a class's pixels that are hit, from counts [..., classes]; NaN for classes not in the ground truth."""
    share = np.full(np.shape(truth), np.nan)
    np.divide(hits, truth, out=share, where=np.asarray(truth) > 0)
    return share


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
        """Add one image: two uint8 [H, W] class maps; pixels whose truth is 255 are left out.

        Raises:
            ContractError: a pixel that is counted has a prediction outside the classes, or the maps differ in size.
            DataError: a truth that is neither 255 nor one of the classes.
        """
        if truth.shape != prediction.shape:
            raise ContractError(f"the truth is {list(truth.shape)}, the prediction {list(prediction.shape)}")
        classes = len(self.counts)
        # All pairs of bytes, so that nothing has to be looked for pixel by pixel.
        pairs = (truth.astype(np.uint16) << 8 | prediction.astype(np.uint16)).ravel()
        counts = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)[:IGNORE_INDEX]
        if counts[classes:].any():
            found = classes + int(counts[classes:].any(1).nonzero()[0].max())
            raise DataError(f"the truth has class {found}, but ids go from 0 to {classes - 1} (255 = ignore)")
        if counts[:, classes:].any():
            found = classes + int(counts[:, classes:].any(0).nonzero()[0].max())
            raise ContractError(f"the prediction has class {found}, but ids go from 0 to {classes - 1}")
        self.counts += counts[:classes, :classes]

    def iou(self) -> Floats:
        """Intersection over union per class, NaN for classes in neither ground truth nor prediction."""
        return intersection_over_union(np.diag(self.counts), self.counts.sum(1), self.counts.sum(0))

    def miou(self) -> float:
        """Mean of `iou` over the classes that occur; NaN when nothing was counted."""
        return float(mean_over_occurring(self.iou()))

    def accuracy(self) -> Floats:
        """Share of each class's pixels whose class is right, NaN for classes not in the ground truth."""
        return accuracy(np.diag(self.counts), self.counts.sum(1))

    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over the classes in the ground truth; NaN when nothing was counted."""
        return float(mean_over_occurring(self.accuracy()))

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
