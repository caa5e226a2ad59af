"""Images a second with several callers at once, each with a runner of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from segexport.bench.messages import Load
from segexport.images import UInt8

LEAST_CALLS = 3
"""Of each caller, however long they take."""


def images_per_second(open_caller: Callable[[int], Callable[[UInt8], object]], load: Load) -> float:
    """The callers' rates added up: each calls one image after the other, from when all are ready until time is up.

    Args:
        open_caller: given a number of CPU threads, opens what one caller calls, in the thread that will call it.
        load: how many callers, for how long, with which images.
    """
    ready = threading.Barrier(load.callers)
    opening = threading.Lock()
    threads = max(1, load.threads // load.callers)

    def serve(number: int) -> float:
        try:
            with opening:
                call = open_caller(threads)
            call(load.images[number % len(load.images)])  # warms up
        except BaseException:
            ready.abort()
            raise
        ready.wait()
        calls, start = 0, time.perf_counter()
        while calls < LEAST_CALLS or time.perf_counter() - start < load.seconds:
            call(load.images[(number + calls) % len(load.images)])
            calls += 1
        return calls * load.batch / (time.perf_counter() - start)

    with ThreadPoolExecutor(load.callers) as pool:
        served = [pool.submit(serve, number) for number in range(load.callers)]
    failed = [error for one in served if (error := one.exception()) is not None]
    for error in sorted(failed, key=lambda one: isinstance(one, threading.BrokenBarrierError)):
        raise error  # why it failed, and not that others waited for it
    return sum(one.result() for one in served)
