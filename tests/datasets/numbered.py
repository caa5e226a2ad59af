"""Images and masks that tell their number, so that pairs show."""

from __future__ import annotations

import numpy as np

from segexport.spec import Labels

LABELS = Labels(("sky", "road", "tree"), ((0, 0, 0),) * 3)


def picture(index: int) -> np.ndarray:
    return np.full((6, 8, 3), 10 * index, np.uint8)


def class_map(index: int) -> np.ndarray:
    return np.full((6, 8), index % 3, np.uint8)
