"""What a build costs: wall time and peak memory of whole processes, this commit beside an earlier one, in turn.

python benchmarks/build.py                             every case, against the last commit that traced PyTorch
python benchmarks/build.py --case b0-fp32 --runs 1     a look
python benchmarks/build.py --before REVISION           against another commit
python benchmarks/build.py --setup-only                the environments alone; minutes, once

Each measurement is `segexport build` as a user runs it, in an empty folder, with the same environment variables for
both sides; `benchmarks/whole_process.py` tells how time and memory are counted. The time in which TensorRT for RTX
compiles a plan is that of its builder's process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import environments
from benchmarks import worktree
from benchmarks.build_cases import AFTER, BEFORE, BUILDER, OPTIMUM, Case, cases, chosen
from benchmarks.build_results import QUIET, CaseResult, Run, render
from benchmarks.cases import CaseError
from benchmarks.run import RESULTS
from benchmarks.whole_process import CommandFailed, measure
from benchmarks.worktree import WorktreeFailed
from environments import EnvironmentFailed
from segexport import machine

EARLIER = "cdd11b4"
"""The last commit whose build traced PyTorch."""

_PACKAGES = (
    "torch",
    "transformers",
    "onnxscript",
    "optimum-onnx",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt-rtx-cu13",
    "numpy",
)
_VERSIONS = f"""
import json, platform
from importlib import metadata
found = {{"python": platform.python_version()}}
for package in {_PACKAGES}:
    try:
        found[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _options(arguments)
    try:
        return _run(options)
    except (CaseError, WorktreeFailed) as error:
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say(f"interrupted: {options.out} has what was measured")
        return 130


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", default=EARLIER, metavar="REVISION", help=f"the earlier commit ({EARLIER})")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only this case; repeatable")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="measurements of each side (3)")
    parser.add_argument(
        "--budget", type=float, default=60, metavar="MINUTES", help="start no measurement after so many minutes (60)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="instead of CamVid's")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images to calibrate on, instead of CamVid's")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where the results go")
    parser.add_argument("--setup-only", action="store_true", help="make the environments and stop")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is 1 or more")
    for name in ("checkpoint", "data"):
        folder = getattr(options, name)
        if folder is not None and not folder.is_dir():
            parser.error(f"--{name}: there is no folder {folder}")
    return options


def _run(options: argparse.Namespace) -> int:
    picked = chosen(cases(options.checkpoint, options.data), options.case)
    programs, sides, failed = _make_sides(options.before, {side for case in picked for side in case.sides})
    absences = {case.name: _absence(case, failed) for case in picked}
    left_out = [f"{name}: {why}" for name, why in absences.items() if why]
    for line in left_out:
        _say(f"left out: {line}")
    if options.setup_only:
        return 1 if failed else 0
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    results = [CaseResult(case) for case in picked if not absences[case.name]]
    run = Run(started, machine.describe(), sides, results, left_out)
    _measure_all(run, programs, options)
    print(render(run))
    return 1 if failed or any(result.failed for result in results) else 0


def _absence(case: Case, failed: dict[str, str]) -> str:
    """Why a case cannot be measured; an empty text if it can."""
    if missing := [folder.name for folder in case.needs if not folder.is_dir()]:
        return f"{missing[0]} is not in ../shared: pass --checkpoint DIR and --data DIR"
    return next((failed[side] for side in case.sides if side in failed), "")


def _make_sides(revision: str, wanted: set[str]) -> tuple[dict[str, Path], dict[str, dict[str, Any]], dict[str, str]]:
    """The program of each side, what is to be said of it, and why there is none of some."""
    own = Path(sys.executable).parent / "segexport"
    if not own.is_file():
        raise CaseError(f"there is no {own.name} beside {sys.executable}: use the Python of scripts/env")
    programs, said, failed = {AFTER: own}, {AFTER: _this_commit()}, {}
    if BEFORE in wanted:
        commit = worktree.commit_of(revision)
        _say(f"making the environment of commit {revision}, unless it is there (minutes; PyTorch is the large part)")
        try:
            programs[BEFORE] = worktree.make(commit) / ".venv" / "bin" / "segexport"
            said[BEFORE] = f"commit {commit[:7]}"
        except WorktreeFailed as error:
            failed[BEFORE] = f"commit {revision}: {error}"
    if OPTIMUM in wanted:
        _say(f"making the environment {OPTIMUM}, unless it is there")
        try:
            environments.make(OPTIMUM)
            programs[OPTIMUM] = environments.python(OPTIMUM).parent / "optimum-cli"
            said[OPTIMUM] = "optimum-cli"
        except EnvironmentFailed as error:
            failed[OPTIMUM] = str(error)
    order = [side for side in (BEFORE, AFTER, OPTIMUM) if side in programs]
    return programs, {side: {"what": said[side], "versions": _versions(programs[side])} for side in order}, failed


def _this_commit() -> str:
    changes = " with changes that are not committed" if worktree.has_changes() else ""
    return f"commit {worktree.commit_of('HEAD')[:7]}{changes}"


def _versions(program: Path) -> dict[str, str]:
    """What the program's environment has installed."""
    command = [str(program.parent / "python"), "-c", _VERSIONS]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _measure_all(run: Run, programs: dict[str, Path], options: argparse.Namespace) -> None:
    """One measurement of every side of every case, and then the next round with the sides the other way round."""
    began = time.monotonic()
    warm: set[tuple[str, str]] = set()
    skipped: dict[tuple[str, str], int] = {}
    for number in range(options.runs):
        for result in run.cases:
            if number and result.failed:  # it would again
                continue
            for side in result.case.sides if number % 2 == 0 else reversed(result.case.sides):
                if time.monotonic() - began > 60 * options.budget:
                    skipped[result.case.name, side] = skipped.get((result.case.name, side), 0) + 1
                    continue
                if (side, result.case.engine) not in warm:
                    warm.add((side, result.case.engine))
                    _warm_up(result.case, side, programs[side])
                _measure(result, side, programs[side], f"{number + 1} of {options.runs}")
                run.minutes = (time.monotonic() - began) / 60
                # After every measurement, so that an interrupted run keeps what it has.
                run.write(options.out, options.case)
    late = [
        f"{name}, {side}: {count} of {options.runs} measurements, as the {options.budget:g} minutes were over"
        for (name, side), count in skipped.items()
    ]
    for line in late:
        _say(f"left out: {line}")
    run.left_out += late
    written = run.write(options.out, options.case)
    _say(f"wrote {written}.json and .md")


def _warm_up(case: Case, side: str, program: Path) -> None:
    """Have a side's libraries read from the disk before it is measured; if this fails, so will the measurement."""
    with tempfile.TemporaryDirectory(prefix="segexport-benchmark-") as folder:
        command = case.warm_up(side, program)
        subprocess.run(command, cwd=folder, env=_variables(), capture_output=True, check=False)


def _measure(result: CaseResult, side: str, program: Path, which: str) -> None:
    name = f"{result.case.name}, {side}, {which}"
    with tempfile.TemporaryDirectory(prefix="segexport-benchmark-") as temporary:
        folder = Path(temporary) / "empty"
        folder.mkdir()
        _say(f"{name}: load average {os.getloadavg()[0]:.2f}")
        command = result.case.command(side, program)
        try:
            cost = measure(command, folder, _variables(), Path(temporary) / "log", watched=BUILDER)
        except CommandFailed as error:
            result.failed[side] = str(error)
            _say(f"{name}: failed: {error}")
            return
    result.costs[side].append(cost)
    memory = f"{cost.largest_bytes / 1e6:.0f} MB (all processes {cost.all_bytes / 1e6:.0f} MB)"
    plan = "" if cost.watched_seconds is None else f", of which the plan {cost.watched_seconds:.1f} s"
    _say(f"{name}: {cost.seconds:.1f} s{plan}, {memory}")
    if cost.others > QUIET:
        _say(f"{name}: warning: other processes used {cost.others:.0%} of the machine meanwhile: doubtful figures")


def _variables() -> dict[str, str]:
    """The caller's environment variables without those of its Python; no model hub, and no messages of many lines."""
    python = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if name not in python}
    return {**inherited, "HF_HUB_OFFLINE": "1", "COLUMNS": "400"}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no process stays behind
    sys.exit(main())
