"""How far two engines' numbers lie apart at a point: running sums in float64, and what they say.

SQNR = 10 log10(Σ r² / Σ (r - x)²) in dB, cosine = Σ r x / sqrt(Σ r² Σ x²), for the baseline's numbers r and another's
x. What a step loses is how far it lifts the noise, Σ (r - x)² / Σ r², above what it was anywhere before: a fall from
60 to 40 dB is nothing beside one from 20 to 17 dB, and the decode head, which sums the stages, is not blamed for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segexport.bench.explanation import PointNoise

ROUNDING_DB = 80.0
"""From here up, two engines in fp32 differ by the order of their sums alone."""

MOST = 0.5
"""One step loses "most" where it has more than this share of the noise of all steps."""

_CHUNK = 1 << 20
"""Numbers brought to float64 at once."""


class RunningNoise:
    """Sums over as many arrays as are added, none of which is kept."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._power = 0.0
        self._product = 0.0
        self._error = 0.0
        self._largest = 0.0
        self._not_finite = 0

    def update(self, reference: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> None:
        """Add the baseline's numbers and another's: two arrays of the same shape.

        Raises:
            ValueError: the shapes differ.
        """
        if reference.shape != other.shape:
            raise ValueError(f"{list(reference.shape)} beside {list(other.shape)}")
        ours, theirs = reference.reshape(-1), other.reshape(-1)
        for start in range(0, ours.size, _CHUNK):
            self._add(
                ours[start : start + _CHUNK].astype(np.float64), theirs[start : start + _CHUNK].astype(np.float64)
            )

    def found(self, point: str) -> PointNoise:
        """What the sums say, for the point of that name."""
        if self._not_finite:
            return PointNoise(point, None, None, None, self._not_finite)
        scale = math.sqrt(self._signal * self._power)
        cosine = min(1.0, max(-1.0, self._product / scale)) if scale else None
        sqnr = 10 * math.log10(self._signal / self._error) if self._error and self._signal else None
        return PointNoise(point, cosine, self._largest, sqnr)

    def _add(self, reference: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> None:
        finite = np.isfinite(reference) & np.isfinite(other)
        if not finite.all():
            self._not_finite += int(np.count_nonzero(~finite))
            return
        error = reference - other
        self._signal += float(reference @ reference)
        self._power += float(other @ other)
        self._product += float(reference @ other)
        self._error += float(error @ error)
        self._largest = max(self._largest, float(np.abs(error).max(initial=0.0)))


def verdict(points: Sequence[PointNoise]) -> str:
    """One sentence: up to which point, or between which two, most is lost, if anywhere.

    Args:
        points: in the network's order.
    """
    if not points:
        return "no point in common: nothing to compare"
    broken = next((p for p in points if p.not_finite), None)
    if broken is not None:
        return f"{broken.not_finite} numbers are NaN or infinite at {broken.point}, the first place with any"
    if all(p.exact for p in points):
        return "equal, number for number, at every point"
    noises = [_noise(p) for p in points]
    if max(noises) <= 10 ** (-ROUNDING_DB / 10):
        lowest = min(p.sqnr_db for p in points if p.sqnr_db is not None)
        return f"rounding alone: {lowest:.1f} dB or more at every point"
    steps = [now - max([0.0, *noises[:index]]) for index, now in enumerate(noises)]
    worst = max(range(len(steps)), key=lambda i: steps[i])
    where, figures = _step(points, worst)
    if steps[worst] > MOST * max(noises):
        return f"most is lost {where} ({figures})"
    return f"no one step loses most; the largest is {where} ({figures})"


def _step(points: Sequence[PointNoise], index: int) -> tuple[str, str]:
    here = points[index]
    if index == 0:
        return f"up to {here.point}", f"{_decibels(here)} there"
    before = points[index - 1]
    return f"between {before.point} and {here.point}", f"{_decibels(before)}, then {_decibels(here)}"


def _decibels(point: PointNoise) -> str:
    if point.exact:
        return "exact"
    return "no signal" if point.sqnr_db is None else f"{point.sqnr_db:.1f} dB"


def _noise(point: PointNoise) -> float:
    """The power of the difference over the baseline's; 1 where the baseline is zero throughout and the other is not."""
    if point.exact:
        return 0.0
    return 1.0 if point.sqnr_db is None else float(10 ** (-point.sqnr_db / 10))
