"""The distribution of an activation's magnitudes, gathered image by image in memory that does not grow.

Sources of the thresholds: entropy, Migacz 2017, "8-bit Inference with TensorRT" (GTC); mean squared error, Sung et al.
2015 (arXiv:1511.06488), here with the uniform model of rounding (error step²/12 inside, distance outside).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segexport.precision.ranges import Method

BINS = 2048
LEVELS = 128
PERCENTILE = 99.99
_MOST = 1 << 20
"""Of an activation with more numbers than this, evenly spread ones are counted; the extremes are of all of them."""
_PART = 1 << 15
"""Numbers counted at a time."""
_NARROWEST = float(np.finfo(np.float32).tiny)
"""A bin whose reciprocal is still a number in float32."""

Float64 = npt.NDArray[np.float64]


class Histogram:
    """Counts of magnitudes in `BINS` bins from 0; when a larger one comes, neighbours merge and the bins widen."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self._width = 0.0
        self._counts = np.zeros(BINS, np.int64)

    def update(self, array: npt.NDArray[np.floating]) -> bool:
        """Add an activation; False, and nothing added, if a number of it is NaN or infinite."""
        low, high = float(array.min()), float(array.max())
        if not (np.isfinite(low) and np.isfinite(high)):  # both carry NaN on
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        flat = array.reshape(-1)
        if flat.size > _MOST:
            flat = flat[:: -(-flat.size // _MOST) | 1]  # an odd step meets every channel
        self._widen(max(-low, high))
        if self._width == 0:
            self._counts[0] += flat.size
            return True
        self._count(flat)
        return True

    @property
    def magnitude(self) -> float:
        """The largest magnitude seen."""
        return max(-self.low, self.high)

    def thresholds(self) -> dict[Method, float]:
        """The magnitude that each method would clip at."""
        if self._width == 0 or self.magnitude == 0:
            return {"min-max": 0.0, "percentile": 0.0, "entropy": 0.0, "mse": 0.0}
        edges = (np.arange(BINS) + 1) * self._width
        share = np.cumsum(self._counts) / self._counts.sum()
        percentile = float(edges[np.searchsorted(share, PERCENTILE / 100)])
        found: dict[Method, float] = {
            "min-max": self.magnitude,
            "percentile": percentile,
            "entropy": self._least_divergence(),
            "mse": self._least_error(),
        }
        return {method: min(value, self.magnitude) for method, value in found.items()}

    def _count(self, flat: npt.NDArray[np.floating]) -> None:
        """Add magnitudes to the bins, a part at a time that the processor's cache holds."""
        factor = 1 / self._width
        magnitudes = np.empty(_PART, flat.dtype)
        bins = np.empty(_PART, np.intp)  # what bincount takes as it is
        for start in range(0, flat.size, _PART):
            part = flat[start : start + _PART]
            scaled, index = magnitudes[: part.size], bins[: part.size]
            np.multiply(np.abs(part, out=scaled), factor, out=scaled)
            np.copyto(index, scaled, casting="unsafe")
            counts = np.bincount(index, minlength=BINS + 1)
            counts[BINS - 1] += counts[BINS]  # the largest lies on the last bin's end
            self._counts += counts[:BINS]

    def _widen(self, magnitude: float) -> None:
        if self._width == 0:
            self._width = max(magnitude / BINS, _NARROWEST) if magnitude else 0.0
            return
        while magnitude > self._width * BINS:
            merged = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])
            self._width *= 2

    def _least_error(self) -> float:
        centres = (np.arange(BINS) + 0.5) * self._width
        counts = self._counts.astype(np.float64)
        total, first, second = (np.cumsum(counts * centres**power) for power in (0, 1, 2))
        bins = np.arange(LEVELS // 2, BINS + 1)
        limits = bins * self._width
        inside = total[bins - 1]
        outside = [whole[-1] - whole[bins - 1] for whole in (total, first, second)]
        clipped = outside[2] - 2 * limits * outside[1] + limits**2 * outside[0]
        error = inside * (limits / (LEVELS - 1)) ** 2 / 12 + clipped
        return float(limits[np.argmin(error)])

    def _least_divergence(self) -> float:
        counts = self._counts.astype(np.float64)
        counts[0] = counts[1]  # zeros are exact, and there are many of them
        best, limit = np.inf, self.magnitude
        for bins in range(LEVELS, BINS + 1, 16):
            reference = counts[:bins].copy()
            reference[-1] += counts[bins:].sum()
            divergence = _divergence(reference, _coarse(counts[:bins]))
            if divergence < best:
                best, limit = divergence, bins * self._width
        return limit


def _coarse(counts: Float64) -> Float64:
    """`counts` as `LEVELS` bins would keep them: each group's sum spread over its bins that are not empty."""
    group = np.arange(len(counts)) * LEVELS // len(counts)
    filled = counts > 0
    sums = np.bincount(group, counts, LEVELS)
    numbers = np.bincount(group, filled, LEVELS)
    spread: Float64 = np.where(filled, sums[group] / np.maximum(numbers[group], 1), 0.0)
    return spread


def _divergence(reference: Float64, approximation: Float64) -> float:
    """Kullback-Leibler divergence of two histograms; a small share everywhere keeps it finite."""
    if not reference.sum() or not approximation.sum():
        return np.inf
    p, q = reference / reference.sum(), approximation / approximation.sum() + 1e-9
    kept = p > 0
    return float(np.sum(p[kept] * np.log(p[kept] / q[kept])))
