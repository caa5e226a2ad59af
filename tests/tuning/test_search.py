import pytest

from segexport.tuning.search import candidates, pareto, predicted_ms

GROUPS = {"pays": ("a", "b", "c", "d"), "costs": ("e",), "pays little": ("f",)}
GAINS = {"pays": 4.0, "costs": -1.0, "pays little": 0.1}
NOISE = {"a": 1e-5, "b": 4e-3, "c": 2e-5, "d": 3e-5, "e": 1e-6, "f": 1e-5}


def test_what_costs_latency_is_left_out_and_what_is_noisy_goes_first():
    found = candidates(GROUPS, GAINS, NOISE, default=("a", "b"))
    assert found["all"] == tuple("abcdef")
    assert found["default"] == ("a", "b")
    assert found["paying 100%"] == tuple("abcdf")
    # b is the noisiest, 4e-3 for 1 ms; then f, which saves next to nothing.
    assert found["paying 75%"] == tuple("acdf")
    assert found["paying 50%"] == tuple("acd")


def test_no_placement_is_built_twice():
    found = candidates({"pays": ("a",)}, {"pays": 1.0}, {"a": 1.0}, default=("a",))
    assert found == {"all": ("a",)}


def test_nothing_pays():
    found = candidates({"costs": ("a", "b")}, {"costs": -1.0}, {"a": 1.0, "b": 1.0}, default=("a",))
    assert found == {"all": ("a", "b"), "default": ("a",)}


def test_predictions_share_a_groups_gain_among_its_layers():
    assert predicted_ms(20.0, GROUPS, GAINS, ("a", "b", "e")) == pytest.approx(20 - 2 + 1)
    assert predicted_ms(20.0, GROUPS, GAINS, ()) == 20.0


def test_pareto_keeps_what_no_other_beats_in_both():
    losses = {"fp32": 0.0, "good": 0.001, "dominated": 0.002, "fast": 0.01, "tie": 0.001}
    latencies = {"fp32": 50.0, "good": 40.0, "dominated": 45.0, "fast": 30.0, "tie": 40.0}
    assert pareto(losses, latencies) == {"fp32", "good", "tie", "fast"}
