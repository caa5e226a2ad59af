"""Progress: few plain lines where nobody watches, live where somebody does, and a time that is left."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console

from segexport.report import steps as module
from segexport.report.steps import Pace, about, bar, share_bar, steps


def log() -> tuple[Console, io.StringIO]:
    """A console that is no terminal, and what is printed on it."""
    text = io.StringIO()
    return Console(file=text, width=200, soft_wrap=True), text


def terminal() -> tuple[Console, io.StringIO]:
    """A console that is one."""
    text = io.StringIO()
    return Console(file=text, force_terminal=True, width=120), text


def test_a_log_gets_the_first_count_soon_and_then_one_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.1)
    console, text = log()
    began = time.monotonic()
    with bar(console, "calls") as told:
        for done in range(1, 101):
            told(done, 100)
            time.sleep(0.005)
    lines = text.getvalue().splitlines()
    assert lines[0] == "calls 1 of 100"
    assert 3 <= len(lines) <= 2 + (time.monotonic() - began) / 0.1
    assert all(re.fullmatch(r"calls \d+ of 100, about \d+ s left", line) for line in lines[1:-1]), lines
    assert lines[-1] == "calls 100 of 100"


def test_what_takes_long_is_told_of_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(module, "_SHARE", 0.5)
    console, text = log()
    with share_bar(console, "training") as told:
        for step in range(200):
            told(step / 200, f"step {step}")
            time.sleep(0.002)
    lines = text.getvalue().splitlines()
    assert lines[0] == "training 0.0%, step 0"
    assert 4 <= len(lines) <= 40, "of 200"
    assert "left" in lines[-1]


def test_a_log_gets_a_line_as_each_step_starts_and_its_count_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)
    console, text = log()
    began = time.monotonic()
    with steps(console) as told:
        told("reading the checkpoint")
        for image in range(1, 41):
            told(f"calibrating: image {image} of 40")
            time.sleep(0.005)
        told("writing [the] bundle")
    lines = text.getvalue().splitlines()
    assert lines[:2] == ["reading the checkpoint", "calibrating: image 1 of 40"]
    assert lines[-1] == "writing [the] bundle"
    between = lines[2:-1]
    assert 1 <= len(between) <= 1 + (time.monotonic() - began) / 0.05
    assert all(re.fullmatch(r"calibrating: image \d+ of 40(, about \d+ s left)?", line) for line in between), between


def test_the_time_left_is_what_the_rest_takes_at_the_pace_so_far() -> None:
    pace = Pace()
    assert pace.seconds_left(30, 50) is None, "what an earlier run did is no pace of this one"
    assert pace.seconds_left(30, 50) is None
    began = time.monotonic()
    time.sleep(0.1)
    left = pace.seconds_left(40, 50)
    taken = time.monotonic() - began
    assert left == pytest.approx(taken, rel=0.5)
    assert pace.speed == pytest.approx(10 / taken, rel=0.5)
    assert pace.seconds_left(1, 8) is None, "something else is counted from here on"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "about 1 s"),
        (42.4, "about 42 s"),
        (125, "about 2 min"),
        (5000, "about 83 min"),
        (6000, "about 2 h"),
        (9 * 86400, "about 9 days"),
    ],
)
def test_a_length_of_time_is_said_in_the_unit_one_would_choose(seconds: float, said: str) -> None:
    assert about(seconds) == said


def test_a_terminal_gets_the_count_the_speed_and_the_time_left() -> None:
    console, text = terminal()
    with bar(console, "images", speed=True) as told:
        told(3, 10)
    assert "images 3 of 10" in text.getvalue()
    assert "images/s" not in text.getvalue(), "what an earlier run did is no speed of this one"
    console, text = terminal()
    with bar(console, "images", speed=True) as told:
        told(3, 10)
        time.sleep(0.01)
        told(4, 10)
        time.sleep(0.2)  # for the screen to be drawn
        told(10, 10)
    assert re.search(r"images 4 of 10, [\d.]+ images/s, about \d+ s left", text.getvalue())
    assert re.search(r"images 10 of 10, [\d.]+ images/s", text.getvalue())


def test_a_terminal_gets_every_step_with_what_was_last_said_of_it() -> None:
    console, text = terminal()
    with steps(console) as told:
        told("calibrating: image 1 of 2")
        told("calibrating: image 2 of 2")
        told("writing [the] bundle")
    shown = text.getvalue().split("\n")
    assert any("✓ calibrating: image 2 of 2" in line for line in shown)
    assert any("✓ writing [the] bundle" in line for line in shown)


def test_nothing_is_imported_for_it_before_there_is_something_to_show() -> None:
    code = """
import sys
from rich.console import Console
from segexport.report.steps import bar, share_bar, steps
console = Console(force_terminal=True)
for shown in (bar(console), steps(console), share_bar(console, "training")):
    with shown:
        pass
assert "rich.progress" not in sys.modules
with bar(console) as told:
    told(1, 2)
assert "rich.progress" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
