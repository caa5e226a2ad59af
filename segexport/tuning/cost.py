"""What each group of layers saves in INT8, from latencies measured on the engine at hand.

Timing one group at a time would drown in noise. So every measurement has half of the groups in INT8, in the patterns of
a Hadamard matrix, in which each group is on as often as off with every other (Plackett and Burman 1946): all
measurements tell about every group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def patterns(groups: Sequence[str]) -> list[tuple[str, ...]]:
    """The groups in INT8 in each measurement. The first has all of them, and no pattern comes twice."""
    order = 1
    while order <= len(groups):
        order *= 2
    rows = _hadamard(order)[:, 1 : len(groups) + 1] > 0
    found = (tuple(group for group, on in zip(groups, row, strict=True) if on) for row in rows)
    return [pattern for pattern in dict.fromkeys(found) if pattern]


def gains(groups: Sequence[str], measured: Mapping[tuple[str, ...], float]) -> dict[str, float]:
    """Milliseconds that each group in INT8 saves, least squares over patterns and their latencies in milliseconds.

    `measured` holds the empty pattern too, which is the higher precision itself.
    """
    design = np.array([[1.0, *(float(group in pattern) for group in groups)] for pattern in measured])
    solution, *_ = np.linalg.lstsq(design, np.array(list(measured.values())), rcond=None)
    return {group: -float(saved) for group, saved in zip(groups, solution[1:], strict=True)}


def _hadamard(order: int) -> npt.NDArray[np.int64]:
    """Sylvester's construction, for powers of two."""
    found = np.ones((1, 1), np.int64)
    while len(found) < order:
        found = np.block([[found, found], [found, -found]])
    return found
