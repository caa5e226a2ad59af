"""Magnitudes counted image by image, and where each method would clip them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segexport.calibration.histogram import BINS, LEVELS, PERCENTILE, Histogram
from segexport.precision.ranges import METHODS

RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_for_each_test() -> None:
    """Whatever ran before: `-m` and `-k` must not change what a test computes with."""
    RNG.bit_generator.state = _FRESH


NUMBERS = {
    "Laplace": RNG.laplace(size=200_000).astype(np.float32),
    "normal": RNG.normal(size=200_000).astype(np.float32),
    "half normal": np.abs(RNG.normal(size=200_000)).astype(np.float32),
    "an outlier": np.append(RNG.normal(size=200_000), 60).astype(np.float32),
}


def of(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        assert histogram.update(part)
    return histogram


def counted(histogram: Histogram) -> int:
    return int(histogram._counts.sum())


@pytest.mark.parametrize("parts", [2, 7, 100])
@pytest.mark.parametrize("kind", NUMBERS)
def test_part_by_part_is_as_at_once(kind: str, parts: int) -> None:
    """With the widest part first the bins are the same, and so is everything."""
    numbers = NUMBERS[kind]
    split = np.array_split(numbers, parts)
    split.sort(key=lambda part: -np.abs(part).max())
    first, second = of(*split), of(numbers)
    np.testing.assert_array_equal(first._counts, second._counts)
    assert (first.low, first.high) == (second.low, second.high) == (min(numbers.min(), 0), numbers.max())
    assert first.thresholds() == second.thresholds()


@pytest.mark.parametrize("kind", NUMBERS)
def test_in_any_order_it_is_nearly_so(kind: str) -> None:
    """Bins that widened are up to twice as wide, which is all that may differ."""
    numbers = np.sort(np.abs(NUMBERS[kind]))
    rising, once = of(*np.array_split(numbers, 50)), of(numbers)
    assert counted(rising) == counted(once) == len(numbers)
    width = 2 * once.magnitude / BINS
    found, wanted = rising.thresholds(), once.thresholds()
    for method in ("min-max", "percentile", "mse"):
        assert found[method] == pytest.approx(wanted[method], abs=2 * width, rel=0.02)


@given(
    st.lists(
        arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
        min_size=1,
        max_size=6,
    )
)
def test_nothing_is_lost_when_bins_widen(parts: list[np.ndarray]) -> None:
    """From the smallest float to 2^100: every number is counted, and not below its share of the largest."""
    histogram = of(*parts)
    numbers = np.concatenate(parts)
    assert counted(histogram) == len(numbers)
    assert histogram.magnitude == np.abs(numbers).max()
    thresholds = histogram.thresholds()
    assert set(thresholds) == set(METHODS)
    for value in thresholds.values():
        assert 0 <= value <= histogram.magnitude


@pytest.mark.parametrize("kind", NUMBERS)
def test_min_max_and_percentile(kind: str) -> None:
    numbers = NUMBERS[kind]
    found = of(numbers).thresholds()
    magnitudes = np.abs(numbers)
    assert found["min-max"] == magnitudes.max()
    width = float(magnitudes.max()) / BINS
    assert found["percentile"] == pytest.approx(np.percentile(magnitudes, PERCENTILE), abs=2 * width)


def error_of(numbers: np.ndarray, limit: float) -> float:
    """What symmetric INT8 with this threshold changes, as a mean square."""
    scale = limit / (LEVELS - 1)
    return float(np.mean((np.clip(np.rint(numbers / scale), -LEVELS + 1, LEVELS - 1) * scale - numbers) ** 2))


@pytest.mark.parametrize("kind", NUMBERS)
def test_mse_finds_what_brute_force_does(kind: str) -> None:
    numbers = NUMBERS[kind].astype(np.float64)
    limits = np.linspace(0.02, 1, 200) * np.abs(numbers).max()
    errors = [error_of(numbers, limit) for limit in limits]
    found = of(NUMBERS[kind]).thresholds()["mse"]
    assert error_of(numbers, found) <= 1.03 * min(errors)
    if kind != "an outlier":
        assert found == pytest.approx(limits[np.argmin(errors)], rel=0.08)


def test_entropy_clips_outliers() -> None:
    numbers = NUMBERS["an outlier"]
    found = of(numbers).thresholds()["entropy"]
    assert 2.5 < found < 15
    assert found > np.percentile(np.abs(numbers), 98)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_changes_nothing(bad: float) -> None:
    histogram = of(NUMBERS["normal"])
    before = histogram.thresholds(), histogram.low, histogram.high, histogram._counts.copy()
    spoilt = NUMBERS["normal"].reshape(100, 2000) * 100
    spoilt[7, 11] = bad
    assert not histogram.update(spoilt)
    assert (histogram.thresholds(), histogram.low, histogram.high) == before[:3]
    np.testing.assert_array_equal(histogram._counts, before[3])


def test_nothing_but_zeros() -> None:
    histogram = of(np.zeros((3, 4), np.float32), np.zeros(5, np.float32))
    assert histogram.thresholds() == dict.fromkeys(METHODS, 0.0)
    assert histogram.magnitude == 0


def test_zeros_count_whenever_they_come() -> None:
    """A layer that was dead on the first image."""
    zeros, numbers = np.zeros(100_000, np.float32), NUMBERS["half normal"][:50]
    assert of(zeros, numbers).thresholds() == of(numbers, zeros).thresholds()


def test_numbers_near_the_smallest() -> None:
    """Bins so narrow that their reciprocal is infinite in float32."""
    histogram = of(np.array([1e-40, 1e-37], np.float32), np.array([-1.0, 0.5], np.float32))
    assert counted(histogram) == 4
    assert histogram.thresholds()["min-max"] == 1.0


def test_large_activations_are_sampled_and_their_extremes_are_not() -> None:
    numbers = RNG.normal(size=(3, 1 << 20)).astype(np.float32)
    numbers[1, 12345] = -50.0
    histogram = of(numbers)
    assert histogram.low == -50
    assert (1 << 19) < counted(histogram) <= 1 << 20
    wanted = np.percentile(np.abs(numbers), PERCENTILE)
    assert histogram.thresholds()["percentile"] == pytest.approx(wanted, rel=0.05)
