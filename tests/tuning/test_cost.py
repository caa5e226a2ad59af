from itertools import combinations

import numpy as np
import pytest

from segexport.tuning.cost import gains, patterns

GROUPS = [f"group {i}" for i in range(21)]


def test_every_pattern_is_measured_once_and_none_is_empty():
    found = patterns(GROUPS)
    assert len(found) == len(set(found)) == 32
    assert all(found)
    assert found[0] == tuple(GROUPS)


@pytest.mark.parametrize("count", [3, 7, 8, 21])
def test_each_group_is_on_as_often_as_off_with_every_other(count):
    groups = GROUPS[:count]
    found = patterns(groups)
    for one, other in combinations(groups, 2):
        assert sum(one in p and other in p for p in found) * 4 == len(found)


def test_true_gains_are_found_in_exact_latencies():
    true = {group: 0.3 * i - 1 for i, group in enumerate(GROUPS)}
    measured = {p: 50.0 - sum(true[g] for g in p) for p in [(), *patterns(GROUPS)]}
    found = gains(GROUPS, measured)
    assert list(found) == GROUPS
    assert found == pytest.approx(true, abs=1e-9)


def test_noise_is_spread_over_all_groups():
    """One latency that is 8 ms off moves no group's gain by more than a fraction of it."""
    measured = {p: 50.0 for p in [(), *patterns(GROUPS)]}
    measured[patterns(GROUPS)[5]] += 8.0
    assert max(map(abs, gains(GROUPS, measured).values())) < 8.0 / 8


def test_a_group_that_costs_has_a_negative_gain():
    measured = {(): 10.0, ("a", "b"): 11.0, ("a",): 8.0, ("b",): 13.0}
    found = gains(["a", "b"], measured)
    assert found == pytest.approx({"a": 2.0, "b": -3.0})
    assert np.isfinite(list(found.values())).all()
