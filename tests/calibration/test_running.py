"""Items computed two at a time, and given back in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from segexport.calibration.running import AT_ONCE, in_turn


def test_in_order_and_no_further_ahead_than_there_is_room() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    def slowest_first(number: int) -> int:
        time.sleep(0.01 * (10 - number) / 10)
        return number * number

    found = []
    for result in in_turn(slowest_first, items()):
        assert len(taken) <= len(found) + AT_ONCE + 1
        found.append(result)
    assert found == [number * number for number in range(10)]


def test_what_goes_wrong_is_raised_in_its_turn() -> None:
    def refuse_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    found = in_turn(refuse_two, range(5))
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)


def test_nothing() -> None:
    assert list(in_turn(str, [])) == []
