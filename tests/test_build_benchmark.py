"""The benchmark of builds: how a process is measured, the arithmetic, the table, and what becomes of a failed build."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import build, worktree
from benchmarks.build_cases import AFTER, BEFORE, OPTIMUM, Case, cases
from benchmarks.build_results import CaseResult, Run, largest, ratios, render, spread, without_plan
from benchmarks.whole_process import CommandFailed, Cost, measure
from segexport import machine

MEGABYTE = 1_000_000
FACTS = {"processor": "A CPU (R) @ 2 GHz", "cores": 2, "system": "Linux"}
SIDES = {BEFORE: {"what": "commit 1234567", "versions": {"torch": "2.0"}}, AFTER: {"what": "here", "versions": {}}}
CASE = Case("b0-x", "a B0", ("--model", "b0"), "onnxruntime")

ALLOCATES = "kept = bytearray(100_000_000); kept[::4096] = b'1' * len(kept[::4096])"
IN_A_GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATES!r}], check=True)"


def cost(
    seconds: float, megabytes: float, more: float = 0, plan: float | None = None, others: float = 0.0, load: float = 0.1
) -> Cost:
    one = int(megabytes * MEGABYTE)
    return Cost(0, seconds, one, one + int(more * MEGABYTE), plan, others, load)


def result(before: list[Cost], after: list[Cost], case: Case = CASE) -> CaseResult:
    return CaseResult(case, dict(zip(case.sides, (before, after), strict=True)))


def cells(text: str, case: str, side: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {case} | {side} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_a_grandchilds_memory_is_counted(tmp_path):
    found = measure(python(IN_A_GRANDCHILD), tmp_path, os.environ, tmp_path / "log")
    assert 100 * MEGABYTE < found.largest_bytes < 150 * MEGABYTE
    assert found.all_bytes >= found.largest_bytes
    assert 0 <= found.others <= 1
    assert (found.status, found.seconds > 0) == (0, True)


def test_the_counting_process_is_smaller_than_what_it_counts(tmp_path):
    ballast = bytearray(200 * MEGABYTE)  # of the process that asks, which must not be in the figure either
    found = measure(python("pass"), tmp_path, os.environ, tmp_path / "log")
    assert found.largest_bytes < 30 * MEGABYTE < len(ballast)
    assert found.watched_seconds is None


def test_a_failed_command_tells_its_last_line(tmp_path):
    code = "import sys; print('first\\nlast\\n\\n', file=sys.stderr); sys.exit(3)"
    with pytest.raises(CommandFailed, match=r"^exit status 3: last$"):
        measure(python(code), tmp_path, os.environ, tmp_path / "log")
    with pytest.raises(CommandFailed, match=r"no-such-program cannot be started"):
        measure(["no-such-program"], tmp_path, os.environ, tmp_path / "log")


def test_a_command_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(CommandFailed, match="no end within 0 s"):
        measure(python("import time; time.sleep(60)"), tmp_path, os.environ, tmp_path / "log", limit=0.3)


def test_ratios_are_of_medians():
    found = result(
        [cost(60, 1000), cost(80, 1200), cost(62, 1100)], [cost(6.2, 300), cost(9, 330), cost(6.0, 310), cost(6.2, 310)]
    )
    assert ratios(found) == pytest.approx({"times": 10.0, "times_without_plan": 10.0, "memory": 310 / 1100})
    memory = spread(found.costs[BEFORE], largest)
    assert (memory.median, memory.least, memory.most) == (1100 * MEGABYTE, 1000 * MEGABYTE, 1200 * MEGABYTE)
    assert ratios(result([cost(60, 1000)], [])) is None


def test_a_plan_is_told_apart():
    found = result([cost(90, 1000, plan=50)], [cost(60, 500, more=250, plan=50)])
    assert [spread(costs, without_plan).median for costs in found.costs.values()] == [40, 10]
    text = render(Run("2026-01-02T03:04:05+00:00", FACTS, SIDES, [found], []))
    expected = ["1", "60.0", "60.0-60.0", "1.50", "50.0", "4.00", "500", "500-500", "0.50", "750"]
    assert cells(text, "b0-x", AFTER) == expected
    assert cells(text, "b0-x", BEFORE)[3:6] == ["-", "50.0", "-"]


def test_the_table_says_what_is_missing_or_doubtful():
    case = Case("b0-y", "another", (), "openvino", sides=(OPTIMUM, AFTER))
    fine = result([cost(60, 1000), cost(61, 1000, others=0.345)], [cost(6, 300)])
    broken = result([], [cost(5, 200)], case)
    broken.failed[OPTIMUM] = "exit status 1: no such model"
    text = render(Run("2026-01-02T03:04:05+00:00", FACTS, SIDES, [fine, broken], ["b0-z: no time"]))
    assert cells(text, "b0-x", BEFORE)[0] == "2"
    assert set(cells(text, "b0-y", OPTIMUM)) == {"-"}
    assert cells(text, "b0-y", AFTER)[3] == "-"
    assert "- b0-x: before: 1 of 2 measurements are doubtful: other processes used up to 34% of the machine" in text
    assert "- b0-y: optimum failed: exit status 1: no such model" in text
    assert "- left out: b0-z: no time" in text
    assert "- before: commit 1234567, torch 2.0" in text


def test_a_run_is_written_beside_the_other_results(tmp_path):
    run = Run("2026-01-02T03:04:05+00:00", FACTS, SIDES, [result([cost(60, 1000)], [cost(6, 300)])], [])
    assert run.write(tmp_path, ["b0-x"]).name == "2026-01-02-a-cpu-r-2-ghz-build-b0-x"
    content = json.loads((tmp_path / "2026-01-02-a-cpu-r-2-ghz-build-b0-x.json").read_text())
    assert content["cases"][0]["ratios"] == pytest.approx({"times": 10, "times_without_plan": 10, "memory": 0.3})
    assert content["cases"][0]["sides"][BEFORE]["runs"][0]["load"] == 0.1
    assert (tmp_path / "2026-01-02-a-cpu-r-2-ghz-build-b0-x.md").read_text() == render(run)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both sides as programs that write down that they were run; `fails` beside one makes it fail."""
    said = tmp_path / "said"
    found = {}
    for side in (BEFORE, AFTER):
        found[side] = tmp_path / side / "segexport"
        found[side].parent.mkdir()
        found[side].write_text(
            f'#!/bin/sh\necho {side} "$@" >>{said}\n'
            f"[ ! -e {tmp_path / side / 'fails'} ] || {{ echo 'error: broken' >&2; exit 3; }}\n"
        )
        found[side].chmod(0o755)
    monkeypatch.setattr(build, "_make_sides", lambda revision, wanted: (found, SIDES, {}))
    monkeypatch.setattr(build, "cases", lambda checkpoint, data: [CASE, Case("b0-y", "gone", (), "x", needs=(said,))])
    return tmp_path


def test_sides_alternate_and_their_order_flips(programs, capsys):
    assert build.main(["--runs", "2", "--out", str(programs / "results")]) == 0
    lines = (programs / "said").read_text().splitlines()
    measured = [line.split()[0] for line in lines if "512x512" in line]
    assert measured == [BEFORE, AFTER, AFTER, BEFORE]
    assert len(lines) == 4 + 2  # each side warms up once
    told = capsys.readouterr()
    assert cells(told.out, "b0-x", AFTER)[0] == "2"
    assert "- left out: b0-y: said is not in ../shared: pass --checkpoint DIR and --data DIR" in told.out


def test_a_failed_build_is_told_and_ends_in_status_1(programs, capsys):
    (programs / AFTER / "fails").touch()
    assert build.main(["--runs", "2", "--out", str(programs / "results")]) == 1
    told = capsys.readouterr()
    assert "- b0-x: after failed: exit status 3: error: broken" in told.out
    assert cells(told.out, "b0-x", BEFORE)[0] == "1"


def test_nothing_is_started_when_time_is_over(programs, capsys):
    assert build.main(["--budget", "0", "--out", str(programs / "results")]) == 0
    assert "left out: b0-x, before: 3 of 3 measurements, as the 0 minutes were over" in capsys.readouterr().out
    assert not (programs / "said").exists()


def test_both_sides_are_given_the_same_options(tmp_path):
    known = {case.name: case for case in cases(tmp_path / "mine", tmp_path / "images")}
    for case in known.values():
        commands = [case.command(side, Path("program")) for side in case.sides]
        assert OPTIMUM in case.sides or commands[0] == commands[1]
    int8 = known["b0-int8"].command(AFTER, Path("program"))
    assert int8[int8.index("--calibration") + 1] == str(tmp_path / "images")
    exported = known["optimum"].command(OPTIMUM, Path("optimum-cli"))
    assert exported[:5] == ["optimum-cli", "export", "onnx", "--model", str(tmp_path / "mine")]
    assert known["optimum"].command(AFTER, Path("p")) == known["b0-fp32"].command(AFTER, Path("p"))


def test_an_unknown_case_or_commit_is_one_line(capsys):
    assert build.main(["--case", "b9"]) == 2
    assert "error: there is no case b9: choose from b0-fp32" in capsys.readouterr().err
    with pytest.raises(worktree.WorktreeFailed, match="there is no commit no-such-thing in this repository"):
        worktree.commit_of("no-such-thing")


def test_the_machine_is_described_as_the_table_needs_it():
    assert FACTS.keys() <= machine.describe().keys()
