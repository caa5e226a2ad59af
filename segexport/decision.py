"""What was decided for an image, whatever the contract's output is: a class map, or a classifier's best classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Decision = npt.NDArray[Any]
"""A class map, uint8 [H, W], or the best classes [k], best first."""

_BEST = 5


def decision(outputs: dict[str, npt.NDArray[Any]], index: int = 0) -> Decision:
    """One image's decision from a contract's outputs of [N, ...]; ties go to the lowest id."""
    for name in ("mask", "classes"):
        if name in outputs:
            found: Decision = outputs[name][index]
            return found
    logits = outputs["logits"][index]
    best: Decision
    if logits.ndim == 3:
        best = logits.argmax(0).astype(np.uint8)
    else:
        best = np.argsort(-logits, kind="stable")[:_BEST].astype(np.int32)
    return best


def agreement(one: Decision, other: Decision) -> float:
    """Share of equal pixels; for classes, 1 if the best one is the same."""
    if one.ndim == 1:
        return float(one[0] == other[0])
    return float((one == other).mean())
