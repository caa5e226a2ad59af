"""Degradation: the published definitions, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.evaluation.bootstrap import interval_of
from segexport.evaluation.condition import CLEAN, Condition
from segexport.evaluation.robustness import Scored, robustness

CONDITIONS = (CLEAN, Condition("fog", 1), Condition("fog", 2), Condition("snow", 1), Condition("snow", 2))


def scored(pytorch: list[float], engine: list[float], spread: float = 0.001, counted: int = 40) -> list[Scored]:
    """mIoU of two subjects in five conditions; both move together from draw to draw, and apart by `spread`."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.02, 500)
    found = []
    for values in zip(pytorch, engine, strict=True):
        apart = rng.normal(0, spread, (500, 2))
        found.append(Scored(np.array(values), np.array(values) + common[:, None] + apart, counted))
    return found


def of(found, corruption, severity, subject):
    every = (*found.conditions, *found.means)
    return next(d for d in every if (d.corruption, d.severity, d.subject) == (corruption, severity, subject))


def both(every: list[Scored]):
    return robustness(CONDITIONS, every, ["pytorch", "int8"], [None, 0], [False, False])


def test_the_definitions() -> None:
    every = scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.78, 0.5, 0.3, 0.69, 0.68])
    found = both(every)
    one = of(found, "fog", 2, "int8")
    assert one.miou.value == 0.3
    assert one.degradation.value == pytest.approx(1 - 0.3 / 0.78)
    assert one.difference.value == pytest.approx(-0.1)
    assert one.degradation_change.value == pytest.approx((1 - 0.3 / 0.78) - (1 - 0.4 / 0.8))
    mean = of(found, "fog", None, "int8")
    assert mean.degradation.value == pytest.approx(1 - 0.4 / 0.78), "of the mean mIoU: 1 - rPC"
    assert mean.corruption_degradation == pytest.approx((0.5 + 0.7) / (0.4 + 0.6)), "Kamann and Rother's CD"
    whole = of(found, None, None, "int8")
    assert whole.miou.value == pytest.approx((0.5 + 0.3 + 0.69 + 0.68) / 4), "Michaelis' mPC"
    assert whole.corruption_degradation is None
    assert of(found, "fog", 1, "pytorch").against is None
    assert (found.corruptions, found.severities) == (("fog", "snow"), (1, 2))


def test_intervals_are_of_the_same_draws() -> None:
    every = scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.78, 0.5, 0.3, 0.69, 0.68])
    one = of(both(every), "snow", 1, "int8")
    draws = (1 - every[3].drawn / every[0].drawn) @ [-1, 1]
    assert one.degradation_change == interval_of(one.degradation_change.value, draws, 40)
    assert one.difference.high - one.difference.low < 0.25 * (one.miou.high - one.miou.low), "they move together"


def test_what_breaks_earlier_is_said_to() -> None:
    found = both(scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.8, 0.5, 0.3, 0.7, 0.7]))
    whole, fog, snow = found.findings
    assert fog.startswith("int8 breaks earlier than pytorch in fog: it loses 50.0 % of its mIoU, pytorch 37.5 %")
    assert "int8 breaks no earlier than pytorch in snow" in snow
    assert "within noise" in snow
    assert whole.startswith("int8 breaks earlier than pytorch over all corruptions")
    (_, fog, _) = both(scored([0.8, 0.5, 0.3, 0.7, 0.7], [0.8, 0.6, 0.4, 0.7, 0.7])).findings
    assert "int8 breaks later than pytorch in fog" in fog


def test_a_difference_of_rounding_is_none() -> None:
    found = both(scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.8, 0.5999, 0.3999, 0.7, 0.7], spread=1e-6))
    assert "breaks no earlier" in found.findings[1]
    assert of(found, "fog", None, "int8").degradation_change.above(0), "beyond noise, and yet nothing"


def test_one_image_says_nothing_and_nothing_gives_no_figure() -> None:
    found = both(scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.8, 0.5, 0.3, 0.7, 0.7], counted=1))
    assert "cannot be said to break earlier" in found.findings[0]
    assert "too few images to tell" in found.findings[0]
    nothing = both([Scored(np.zeros(2), np.zeros((500, 2)), 40) for _ in CONDITIONS])
    assert np.isnan(of(nothing, "fog", 1, "int8").degradation.value)
    assert "nothing to compare" in nothing.findings[0]


def test_random_weights_and_lone_subjects_get_no_verdict() -> None:
    every = scored([0.8, 0.6, 0.4, 0.7, 0.7], [0.8, 0.5, 0.3, 0.7, 0.7])
    assert robustness(CONDITIONS, every, ["a", "b"], [None, None], [False, False]).findings == ()
    left_out = robustness(CONDITIONS, every, ["a", "b"], [None, 0], [True, True])
    assert left_out.conditions == left_out.means == left_out.findings == ()
