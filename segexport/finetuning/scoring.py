"""Validation while training: confusion matrices, image by image, so that no logits are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segexport.evaluation.metrics import ConfusionMatrix
from segexport.spec import IGNORE_INDEX

if TYPE_CHECKING:
    import torch


def confusion(logits: torch.Tensor, masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Confusion matrices, int64 [N, classes, classes] (rows are the truth), at the masks' own sizes.

    Args:
        logits: float [N, classes, h, w], brought to each mask's size bilinearly, as
            `post_process_semantic_segmentation` does.
        masks: N of int64 [H, W], 255 = ignore.
    """
    import torch

    classes = logits.shape[1]
    found = []
    for one, mask in zip(logits, masks, strict=True):
        full = torch.nn.functional.interpolate(one[None].float(), size=mask.shape, mode="bilinear", align_corners=False)
        seen, counted = full[0].argmax(0), mask != IGNORE_INDEX
        index = mask[counted] * classes + seen[counted]
        found.append(torch.bincount(index, minlength=classes * classes).reshape(classes, classes))
    return torch.stack(found)


class ComputeMetrics:
    """Trainer's `compute_metrics` with `batch_eval_metrics`: adds up confusion matrices, and scores them at the end."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._matrix = ConfusionMatrix(len(self._names))

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        """Add `prediction.predictions`, int64 [N, classes, classes].

        Returns:
            At the end `miou`, `mean_accuracy` and `pixel_accuracy`, and `iou_NAME` of each class, as fractions; figures
            of what does not occur are left out.
        """
        counts = prediction.predictions
        self._matrix.counts += np.asarray(counts.cpu() if hasattr(counts, "cpu") else counts).sum(0)
        if not compute_result:
            return {}
        matrix, self._matrix = self._matrix, ConfusionMatrix(len(self._names))
        found = {
            "miou": matrix.miou(),
            "pixel_accuracy": matrix.pixel_accuracy(),
            "mean_accuracy": matrix.mean_accuracy(),
        }
        found |= {f"iou_{name}": float(iou) for name, iou in zip(self._names, matrix.iou(), strict=True)}
        return {name: value for name, value in found.items() if not np.isnan(value)}
