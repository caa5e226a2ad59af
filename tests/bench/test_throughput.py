"""Several callers at once: their rates add up, and what one of them meets is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from segexport import machine
from segexport.bench.messages import Load
from segexport.bench.throughput import LEAST_CALLS, images_per_second
from segexport.bundle import Bundle
from segexport.errors import EngineUnavailable
from segexport.images import UInt8

IMAGES = tuple(np.full((2, 2, 3), value, np.uint8) for value in range(3))


def test_rates_of_callers_add_up_and_threads_are_divided() -> None:
    """A call that waits 50 ms for two images: four callers get at most 160 a second, one alone 40."""
    asked: list[tuple[int, int]] = []
    shown: set[int] = set()

    def open_caller(threads: int) -> Callable[[UInt8], None]:
        asked.append((threads, threading.get_ident()))

        def call(image: UInt8) -> None:
            shown.add(int(image[0, 0, 0]))
            time.sleep(0.05)

        return call

    rate = images_per_second(open_caller, Load(IMAGES, callers=4, seconds=0.4, threads=9, batch=2))
    assert 40 < rate <= 160
    assert [threads for threads, _ in asked] == [2] * 4
    assert len({thread for _, thread in asked}) == 4, "each is opened where it is called"
    assert shown == {0, 1, 2}


def test_slow_calls_are_made_often_enough() -> None:
    calls: list[float] = []

    def call(image: UInt8) -> None:
        calls.append(time.perf_counter())
        time.sleep(0.02)

    images_per_second(lambda threads: call, Load(IMAGES, callers=1, seconds=0.0, threads=1, batch=1))
    assert len(calls) == 1 + LEAST_CALLS


def test_why_one_fails_is_raised_and_not_that_others_waited() -> None:
    opened = 0

    def open_caller(threads: int) -> Callable[[UInt8], None]:
        nonlocal opened
        opened += 1
        if opened == 3:
            raise EngineUnavailable("no memory for a third")
        return lambda image: None

    with pytest.raises(EngineUnavailable, match="no memory for a third"):
        images_per_second(open_caller, Load(IMAGES, callers=3, seconds=0.1, threads=1, batch=1))


@pytest.mark.bundle
@pytest.mark.skipif(machine.cores() < 2, reason="needs two cores")
def test_openvino_pins_threads_only_where_it_has_all_cores(openvino_bundle: Bundle) -> None:
    """Models compiled in one process pin theirs to the same cores, and two callers would share one."""
    from segexport.engines.openvino import compile_graph

    one, every = (compile_graph(openvino_bundle.engine_graph, threads) for threads in (1, machine.cores()))
    assert not one.get_property("ENABLE_CPU_PINNING")
    assert every.get_property("ENABLE_CPU_PINNING")
