"""Ctrl-C: what was measured is kept, and no process is left or complains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import jsonschema
import pytest

import segexport
from segexport.bench.interrupts import Interrupts
from segexport.bundle import Bundle
from segexport.data import read_json

SCRIPT = """
import json, sys
import segexport
from segexport.bench.images import Scenes

def told(done, total):
    print(done, flush=True)

result = segexport.benchmark(sys.argv[1:], Scenes(1000, (64, 96)), use_reference=False, progress=told, concurrency=2)
print(json.dumps(result.to_json()))
sys.exit(130 if result.interrupted else 0)
"""


@pytest.mark.bundle
def test_a_terminal_s_ctrl_c_keeps_what_was_measured(bundle: Bundle, openvino_bundle: Bundle) -> None:
    """It goes to the contenders, too."""
    command = [sys.executable, "-c", SCRIPT, str(bundle.folder), str(openvino_bundle.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        while int(run.stdout.readline()) < 16:
            pass
        os.killpg(run.pid, signal.SIGINT)
        said, complaints = run.communicate(timeout=60)
    assert complaints == ""
    assert run.returncode == 130
    with pytest.raises(ProcessLookupError):  # no process of the group is left
        os.killpg(run.pid, 0)
    result = json.loads(said.splitlines()[-1])
    jsonschema.validate(result, read_json("bench.schema.json"))
    assert result["interrupted"]
    calls = [row["calls"] for row in result["rows"]]
    assert 16 - 3 * 2 <= sum(calls) < 2000
    assert max(calls) - min(calls) <= 1
    assert result["data"]["images"] == min(calls)
    assert result["rows"][1]["agreement"] >= 0.9998
    assert result["rows"][0]["throughput"] is None, "that would have come later"
    assert f"interrupted after {sum(calls)} of 2000 timed calls: the figures are of those alone" in result["notes"]


@pytest.mark.bundle
def test_where_nothing_was_timed_ctrl_c_goes_on(bundle: Bundle) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segexport.benchmark([bundle], use_reference=False, progress=stop)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_first_waits_for_a_check_and_the_second_does_not() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        os.kill(os.getpid(), signal.SIGINT)
        assert not interrupts.twice
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.twice


def test_a_program_s_own_handler_is_left_alone() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            interrupts.check()
        assert caught == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
