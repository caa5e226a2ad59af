import pytest

from segexport.evaluation.bootstrap import Interval
from segexport.tuning.choice import choose
from segexport.tuning.result import Point


def point(name, precision, ms, change, *, beats=False):
    faster = Interval(50.0 / ms, 50.0 / ms - 0.02, 50.0 / ms + 0.02)
    return Point(name, precision, 3, ms, None, faster, 0.5 + change, change, None, beats)


FP32 = point("fp32", "fp32", 50.0, 0.0)


def never(name):
    raise AssertionError(f"{name} was taken to the other images")


def test_the_fastest_within_the_budget_is_taken():
    points = [
        FP32,
        point("reckless", "int8", 30.0, -0.02, beats=True),
        point("fast", "int8", 35.0, -0.004, beats=True),
        point("careful", "int8", 45.0, -0.001, beats=True),
    ]
    asked = []

    def confirm(name):
        asked.append(name)
        return point(name, "int8", 36.0, -0.003, beats=True)

    found = choose(points, 0.5, confirm)
    assert (found.name, found.precision) == ("fast", "int8")
    assert asked == ["fast"]
    assert "1.39x as fast as fp32 at -0.30 points" in found.why


def test_what_loses_more_on_other_images_gives_way_to_the_next():
    points = [
        FP32,
        point("fast", "int8", 35.0, -0.004, beats=True),
        point("careful", "int8", 40.0, -0.001, beats=True),
    ]
    held = {
        "fast": point("fast", "int8", 35.0, -0.009, beats=True),
        "careful": point("careful", "int8", 40.0, 0.0, beats=True),
    }
    found = choose(points, 0.5, held.__getitem__)
    assert found.name == "careful"
    assert [p.name for p in found.confirmed] == ["fast", "careful"]


def test_nothing_that_holds_on_other_images_is_no_placement():
    points = [FP32, *(point(f"p{i}", "int8", 30.0 + i, -0.001, beats=True) for i in range(5))]
    found = choose(points, 0.5, lambda name: point(name, "int8", 30.0, -0.05, beats=True))
    assert (found.name, found.precision) == (None, "fp32")
    assert [p.name for p in found.confirmed] == ["p0", "p1", "p2"]
    assert "did not hold" in found.why


def test_a_gain_of_noise_is_none():
    points = [FP32, point("slow", "int8", 49.0, -0.001, beats=False)]
    found = choose(points, 0.5, never)
    assert (found.name, found.precision) == (None, "fp32")
    assert "nothing beats fp32" in found.why
    assert "49.0 ms against 50.0 ms" in found.why


def test_bf16_is_what_int8_has_to_beat_where_it_is_faster():
    points = [
        FP32,
        point("bf16", "bf16", 25.0, -0.0005, beats=True),
        point("int8", "int8", 26.0, -0.001, beats=False),
    ]
    found = choose(points, 0.5, never)
    assert (found.name, found.precision) == (None, "bf16")
    assert "nothing beats bf16" in found.why


def test_bf16_over_the_budget_is_not_used():
    points = [
        FP32,
        point("bf16", "bf16", 25.0, -0.02, beats=True),
        point("int8", "int8", 26.0, -0.03, beats=False),
    ]
    found = choose(points, 0.5, never)
    assert found.precision == "fp32"


@pytest.mark.parametrize("budget", [0.0, 0.2])
def test_a_budget_that_cannot_be_met_names_the_least_loss(budget):
    points = [FP32, point("all", "int8", 30.0, -0.02, beats=True), point("few", "int8", 40.0, -0.0031, beats=True)]
    found = choose(points, budget, never)
    assert (found.name, found.precision) == (None, "fp32")
    assert "the least loss is 0.31" in found.why
    assert "raise --budget" in found.why
