"""A machine that other programs use is noticed, and our own processes are not taken for others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import segexport
from segexport import machine
from segexport.bench.busy import BUSY_SHARE, Meter, doubt
from segexport.bench.images import Scenes
from segexport.bundle import Bundle
from tests.support.checkpoints import SIZE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@pytest.fixture
def loops() -> Iterator[list[int]]:
    """A process for each core that never rests: their ids."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(machine.cores())]
    yield [loop.pid for loop in started]
    for loop in started:
        loop.kill()
        loop.wait()


@pytest.mark.bundle
@pytest.mark.slow
def test_a_busy_machine_is_named_beside_the_figures(bundle: Bundle, loops: list[int]) -> None:
    result = segexport.benchmark([bundle], Scenes(100, SIZE), use_reference=False)
    share = result.machine["others_share"]
    assert share > BUSY_SHARE
    assert result.doubts == (doubt(share),)
    assert doubt(share) in result.rows[0].verdict


def test_our_own_processes_are_not_others(loops: list[int]) -> None:
    mixed, ours = Meter([]), Meter(loops)
    assert mixed.share() is None, "too soon to tell"
    time.sleep(1.5)
    all_others, without_ours = mixed.share(), ours.share()
    assert all_others is not None
    assert without_ours is not None
    assert all_others > BUSY_SHARE
    assert without_ours < all_others


def test_a_process_that_died_leaves_it_unknown() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    meter = Meter([gone.pid])
    gone.wait()
    assert meter.share() is None


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""),
        (0.04, ""),
        (0.43, "the machine was busy, other programs took 43% of its cores' time"),
    ],
)
def test_little_is_not_busy(share: float | None, said: str) -> None:
    assert doubt(share) == said
