"""Boundary IoU: what class maps are worth along the contours, where mean IoU hardly looks.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation" (CVPR 2021, arXiv:2103.16562):
of each mask, only the pixels within d of its contour count, and the image's edge is a contour. d is 2 % of the image's
diagonal, as in `mask_to_boundary` of the authors' bowenc0221/boundary-iou-api, which erodes each class d times by 3x3.

What d erosions leave is known beforehand: the pixels whose window of 2d + 1 pixels a side is inside the image and all
of one class. Two integral images of where neighbours differ find them for all classes at once, whatever d.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segexport.images import UInt8
from segexport.spec import IGNORE_INDEX, Size

RATIO = 0.02

_Mask = npt.NDArray[np.bool_]


def boundary_counts(truth: UInt8, prediction: UInt8, classes: int, ratio: float = RATIO) -> npt.NDArray[np.int64]:
    """Boundary pixels of one image, counted per class.

    Args:
        truth: uint8 [H, W] class ids. Where it is 255, so is the prediction taken to be: both have the same contour
            there, and nothing is counted.
        prediction: uint8 [H, W] class ids.
        classes: number of classes.
        ratio: d as a share of the image's diagonal; at least one pixel.

    Returns:
        int64 [3, classes]: pixels in both boundaries of a class, in the truth's, in the prediction's, as
        `segexport.evaluation.metrics.intersection_over_union` takes them.

    Raises:
        ValueError: the two are not of one size.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {prediction.shape}")
    distance = boundary_distance((truth.shape[0], truth.shape[1]), ratio)
    prediction = np.where(truth == IGNORE_INDEX, truth, prediction)
    of_truth, of_prediction = boundary(truth, distance), boundary(prediction, distance)
    both = of_truth & of_prediction & (truth == prediction)
    chosen = truth[both], truth[of_truth], prediction[of_prediction]
    return np.stack([np.bincount(ids, minlength=IGNORE_INDEX + 1)[:classes] for ids in chosen]).astype(np.int64)


def boundary_distance(size: Size, ratio: float = RATIO) -> int:
    """d in pixels for an image of `size`."""
    return max(1, round(ratio * float(np.sqrt(size[0] ** 2 + size[1] ** 2))))


def boundary(ids: UInt8, distance: int) -> _Mask:
    """bool [H, W]: which of uint8 [H, W] class ids are within `distance` of their class's contour or the edge."""
    height, width = ids.shape
    inner_height, inner_width = height - 2 * distance, width - 2 * distance
    found = np.ones(ids.shape, np.bool_)
    if inner_height < 1 or inner_width < 1:
        return found
    side = 2 * distance + 1
    changes = _sums(ids[:, 1:] != ids[:, :-1], side, side - 1) + _sums(ids[1:] != ids[:-1], side - 1, side)
    found[distance : height - distance, distance : width - distance] = changes > 0
    return found


def _sums(marks: _Mask, rows: int, columns: int) -> npt.NDArray[np.int32]:
    """How many of `marks` are in each window of rows x columns that lies inside of it."""
    whole = np.zeros((marks.shape[0] + 1, marks.shape[1] + 1), np.int32)
    np.cumsum(marks, 0, dtype=np.int32, out=whole[1:, 1:])
    np.cumsum(whole[1:, 1:], 1, out=whole[1:, 1:])
    tall = whole[rows:] - whole[:-rows]
    sums: npt.NDArray[np.int32] = tall[:, columns:] - tall[:, :-columns]
    return sums
