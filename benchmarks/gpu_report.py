"""What an NVIDIA GPU makes of segexport, as one JSON: tests, selftests and a benchmark of every engine that runs there.

scripts/gpu_report                              B0, random weights, 512x512, into gpu-report.json
scripts/gpu_report --models b0,b2 --images 100  more of it

A part that fails is recorded as such, and the others go on; the exit code is then 1. Without a GPU it is 2, and one
line says what is missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import segexport
from segexport import engines, machine, scenes
from segexport.bundle import Bundle
from segexport.engines import ON_GPU
from segexport.errors import SegexportError
from segexport.files import write_file
from segexport.golden import selftest
from segexport.spec import Precision, Size
from segexport.tensorrt import device

ROOT = Path(__file__).parents[1]
TESTS = ("-m", "gpu", "tests")
CONFORMANCE = ("-m", "not slow", "tests/tensorrt/test_conformance.py")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Report:
    """What there is, and what came of it: `failed` holds one line for every part that did not work."""

    machine: dict[str, Any]
    engines: list[dict[str, Any]]
    tests: list[dict[str, Any]]
    bundles: list[dict[str, Any]]
    bench: list[dict[str, Any]]
    failed: list[str]


def facts() -> dict[str, Any]:
    """Machine, driver and GPUs."""
    gpus = [{**asdict(gpu), "target": gpu.target} for gpu in device.gpus()]
    return {**machine.describe(), "driver": _nvidia_smi(), "driver_cuda": device.driver_version(), "gpus": gpus}


def _nvidia_smi() -> str | None:
    """The driver's own version and the clocks' limits, which figures depend on."""
    query = "driver_version,clocks.max.sm,clocks.max.mem,power.limit"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):  # Jetson has none
        return None
    return done.stdout.strip()


def run_tests(arguments: Sequence[str], failed: list[str]) -> list[dict[str, Any]]:
    """Every test's name, outcome, seconds and message."""
    with tempfile.TemporaryDirectory(prefix="segexport-") as folder:
        xml = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={xml}", *arguments]
        done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode not in (0, 1) or not xml.exists():
            failed.append(f"pytest {' '.join(arguments)} ended with code {done.returncode}: see its output above")
            return []
        found = outcomes(xml.read_text(encoding="utf-8"))
    failed.extend(f"{one['test']}: {one['message']}" for one in found if one["outcome"] in ("failure", "error"))
    return found


def outcomes(xml: str) -> list[dict[str, Any]]:
    """The tests of a JUnit file; the message is the first line."""
    found = []
    for case in ElementTree.fromstring(xml).iter("testcase"):
        what = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        message = "" if what is None else (what.get("message") or what.text or "").strip()
        found.append(
            {
                "test": f"{case.get('classname')}::{case.get('name')}",
                "outcome": "passed" if what is None else what.tag,
                "seconds": float(case.get("time", 0)),
                "message": message.splitlines()[0] if message else "",
            }
        )
    return found


def try_bundles(
    names: Sequence[str], models: Sequence[str], size: Size, data: Path, folder: Path, failed: list[str]
) -> tuple[list[dict[str, Any]], dict[str, list[Bundle]]]:
    """Build and selftest every model in every precision for every engine; the facts, and the bundles by model."""
    rows: list[dict[str, Any]] = []
    made: dict[str, list[Bundle]] = {model: [] for model in models}
    for model in models:
        for name in names:
            for precision in engines.info(name).precisions:
                if precision not in PRECISIONS:
                    continue
                row: dict[str, Any] = {"model": model, "engine": name, "precision": precision}
                rows.append(row)
                out = folder / f"{model}-{name}-{precision}"

                build = partial(segexport.build, model, out, engine=name, precision=precision, size=size)
                images = None if precision == "fp32" else data / "images"
                bundle = tried(f"build {out.name}", partial(build, calibration=images, random_init=True), failed)
                if bundle is None:
                    continue
                made[model].append(bundle)
                row |= {"plan": bundle.manifest.engine.plan and asdict(bundle.manifest.engine.plan)}
                row |= {"bytes": bundle.size_bytes(), "golden": bundle.manifest.golden}
                tested = tried(f"selftest {out.name}", partial(selftest, bundle), failed)
                row["selftest"] = tested and asdict(tested)
    return rows, made


def tried(what: str, work: Callable[[], Any], failed: list[str]) -> Any:
    """What some work gives, or None where it fails, which is noted."""
    print(what, file=sys.stderr)
    try:
        return work()
    except SegexportError as error:
        failed.append(f"{what}: {error}")
    except Exception as error:  # a defect, which must not cost the rest of what was measured
        failed.append(f"{what}: {error!r}")
    return None


def report(
    names: Sequence[str],
    *,
    models: Sequence[str] = ("b0",),
    size: Size = (512, 512),
    images: int = 20,
    tests: Sequence[Sequence[str]] = (TESTS, CONFORMANCE),
) -> Report:
    """Test, build and measure these engines.

    Args:
        names: engines that run here.
        models: SegFormer sizes, with random weights.
        size: of the network.
        images: generated scenes to measure on, and to calibrate INT8 on.
        tests: arguments of pytest, once each.
    """
    failed: list[str] = []
    found = [one for arguments in tests for one in run_tests(arguments, failed)]
    with tempfile.TemporaryDirectory(prefix="segexport-") as scratch:
        data = scenes.write_dataset(Path(scratch) / "data", images, seed=scenes.VALIDATION_SEED, size=size)
        rows, made = try_bundles(names, models, size, data, Path(scratch), failed)
        measured = []
        for model, bundles in made.items():
            bench = partial(segexport.benchmark, bundles, data, use_reference=False)
            if bundles and (result := tried(f"bench {model}", bench, failed)) is not None:
                if result.interrupted:
                    raise KeyboardInterrupt
                measured.append(result.to_json())
    listed = [asdict(one) for one in engines.infos()]
    return Report(facts(), listed, found, rows, measured, failed)


def main() -> int:
    """Report on the GPUs of this machine."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-report.json"), help="the JSON to write")
    parser.add_argument("--models", default="b0", help="SegFormer sizes, such as b0,b2")
    parser.add_argument("--images", type=int, default=20, help="generated scenes to measure on")
    parser.add_argument("--no-tests", action="store_true", help="selftests and benchmark only")
    arguments = parser.parse_args()
    if why := device.missing():
        print(f"error: gpu_report needs an NVIDIA GPU: {why}", file=sys.stderr)
        return 2
    names = [name for name in ON_GPU if engines.info(name).devices]
    if not names:
        reasons = "; ".join(engines.info(name).missing for name in ON_GPU[:2])
        print(f"error: there is a GPU, and no engine that runs on it: {reasons}", file=sys.stderr)
        return 2
    found = report(
        names,
        models=arguments.models.split(","),
        images=arguments.images,
        tests=() if arguments.no_tests else (TESTS, CONFORMANCE),
    )
    write_file(arguments.out, (json.dumps(asdict(found), indent=2) + "\n").encode())
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    counts = {outcome: sum(one["outcome"] == outcome for one in found.tests) for outcome in ("passed", "skipped")}
    tests = ", ".join(f"{count} tests {outcome}" for outcome, count in counts.items())
    print(f"{arguments.out}: {', '.join(names)}; {tests}; {len(found.bundles)} bundles; {len(found.failed)} failed")
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
