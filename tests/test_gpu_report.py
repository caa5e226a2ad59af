"""The report of a machine with a GPU: what it says where there is none; and its parts, on a CPU engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.gpu_report import outcomes, report, run_tests
from segexport.tensorrt.device import gpus, missing

ROOT = Path(__file__).parents[1]
REPORT = [sys.executable, str(ROOT / "benchmarks" / "gpu_report.py")]


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")
def test_without_a_gpu_one_line_says_why(tmp_path: Path) -> None:
    done = subprocess.run(
        [*REPORT, "--out", tmp_path / "out.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: gpu_report needs an NVIDIA GPU: {missing()}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")
def test_the_script_calls_it(tmp_path: Path) -> None:
    """With the interpreter that is named; it makes no environment for that."""
    done = subprocess.run(
        [ROOT / "scripts" / "gpu_report", "--out", tmp_path / "out.json"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"error: gpu_report needs an NVIDIA GPU: {missing()}\n")


def test_outcomes_of_tests() -> None:
    xml = """<testsuites><testsuite>
      <testcase classname="tests.a" name="one" time="1.5"/>
      <testcase classname="tests.a" name="two" time="0"><skipped message="no driver"/></testcase>
      <testcase classname="tests.a" name="three" time="0">
        <failure message="assert 1 == 2&#10;more">trace</failure>
      </testcase>
    </testsuite></testsuites>"""
    assert [(one["test"], one["outcome"], one["seconds"], one["message"]) for one in outcomes(xml)] == [
        ("tests.a::one", "passed", 1.5, ""),
        ("tests.a::two", "skipped", 0.0, "no driver"),
        ("tests.a::three", "failure", 0.0, "assert 1 == 2"),
    ]


@pytest.mark.slow
def test_running_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): raise ValueError('so')\n")
    failed: list[str] = []
    found = run_tests(("-p", "no:cacheprovider", str(tmp_path / "test_it.py")), failed)
    assert [one["outcome"] for one in found] == ["passed", "failure"]
    assert len(failed) == 1
    assert failed[0].endswith("::test_bad: ValueError: so")
    assert run_tests((str(tmp_path / "absent.py"),), failed) == []
    assert "ended with code 4" in failed[-1]


@pytest.mark.slow
@pytest.mark.bundle
def test_a_report_on_an_engine_that_is_here() -> None:
    """ONNX Runtime's CPU provider in the place of an engine on a GPU; a model that does not exist is noted."""
    found = report(["onnxruntime"], models=("b0", "b9"), size=(64, 96), images=2, tests=())
    content = json.loads(json.dumps(asdict(found), allow_nan=False))
    built = [row for row in content["bundles"] if "selftest" in row]
    assert [row["precision"] for row in built] == ["fp32", "fp16", "int8"]
    assert all(row["selftest"]["agreement"] == 1 for row in built)
    (bench,) = content["bench"]
    assert len(bench["rows"]) == 3
    assert len(content["failed"]) == 3
    assert all(line.startswith("build b9-onnxruntime-") for line in content["failed"])
    assert content["machine"]["gpus"] == [] or content["machine"]["driver_cuda"]
