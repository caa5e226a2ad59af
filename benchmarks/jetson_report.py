"""What bundles come to on a Jetson, as one JSON: selftest, benchmark, energy per frame, power mode, clocks, versions.

scripts/jetson_report bundles/orin-fp16 bundles/orin-int8      into jetson-report.json
scripts/jetson_report bundles/orin-fp16 --data D               on labelled images, with mIoU

A part that fails is recorded as such, and the others go on; the exit code is then 1. On a machine that is no Jetson it
is 2, and one line says so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import segexport
from benchmarks.gpu_report import facts as machine_facts
from benchmarks.gpu_report import tried
from segexport import scenes
from segexport.bench import energy, tegrastats
from segexport.bench.energy import Tegrastats
from segexport.bench.tegrastats import Recording, Total
from segexport.bundle import Bundle, open_bundle
from segexport.datasets import open_data
from segexport.errors import OutputError
from segexport.files import write_json
from segexport.golden import selftest

SCHEMA = 1
RELEASE = Path("/etc/nv_tegra_release")
MODEL = Path("/proc/device-tree/model")

_SLOWEST_COMMAND_SECONDS = 30.0


@dataclass(frozen=True)
class Settings:
    """Seconds of load and of idling, and what is computed meanwhile."""

    seconds: float = 20.0
    idle_seconds: float = 10.0
    interval_ms: int = energy.INTERVAL_MS
    images: int = 20
    data: Path | None = None


@dataclass
class Report:
    """What there is, and what came of it: `failed` holds one line for every part that did not work.

    `finished` is False in a file that was written before the end, by a run that did not get there.
    """

    jetson: dict[str, Any] | None
    machine: dict[str, Any]
    power: dict[str, Any]
    bundles: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    finished: bool = False
    schema: int = SCHEMA


def why_no_jetson() -> str:
    """What says that this is none; an empty text on a Jetson."""
    if RELEASE.exists() or "Jetson" in _content(MODEL):
        return ""
    return f"there is no {RELEASE} here, and {MODEL} names no Jetson"


def jetson_facts() -> dict[str, Any]:
    """Module, Jetson Linux, JetPack, power mode and clocks, as the system's own tools say them."""
    return {
        "model": _content(MODEL) or None,
        "l4t": _content(RELEASE).partition("\n")[0] or None,
        "jetpack": _said("dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack"),
        "tensorrt": _said("dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", "libnvinfer1?"),
        "power_mode": _said("nvpmodel", "-q"),
        "clocks": _said("jetson_clocks", "--show")
        if os.geteuid() == 0
        else {"command": "jetson_clocks --show", "error": "needs root: run it with sudo and add what it says"},
    }


def _content(path: Path) -> str:
    """A file's text; an empty one where there is no such file. A device tree's texts end in a NUL."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _said(*command: str) -> dict[str, Any]:
    """What a command printed, or why it did not."""
    asked = {"command": " ".join(command)}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SLOWEST_COMMAND_SECONDS,
            check=False,
        )
    except OSError as error:
        return {**asked, "error": error.strerror or str(error)}
    except subprocess.TimeoutExpired:
        return {**asked, "error": f"no answer in {_SLOWEST_COMMAND_SECONDS:.0f} s"}
    output = done.stdout.strip()
    if done.returncode != 0:
        return {**asked, "output": output, "error": done.stderr.strip() or f"exit code {done.returncode}"}
    return {**asked, "output": output}


def report(
    bundles: Sequence[Path],
    settings: Settings,
    *,
    is_jetson: bool = True,
    keep: Callable[[Report], None] = lambda so_far: None,
) -> Report:
    """Test and measure these bundles, one after the other.

    Args:
        bundles: folders made by `segexport build`.
        settings: how long, and on what.
        is_jetson: False leaves power out.
        keep: told what there is before and after every bundle, since the next may end the process.
    """
    found = Report(
        jetson=jetson_facts() if is_jetson else None,
        machine=machine_facts(),
        power={"interval_ms": settings.interval_ms, "idle_seconds": settings.idle_seconds, "seconds": settings.seconds},
    )
    idle, total = None, None
    if is_jetson:
        lines = tried("idle power", partial(_idle, settings), found.failed)
        if lines is not None:
            total = tegrastats.total_for(tegrastats.summarize(lines, None).rails_mw)
            idle = tegrastats.summarize(lines, total)
            found.power |= {**_rule(total, idle), "idle": asdict(idle)}
    else:
        found.power["note"] = "this is no Jetson: power was not measured"
    keep(found)
    for folder in bundles:
        found.bundles.append(_bundle(folder, settings, idle, total, found.failed))
        keep(found)
    found.finished = True
    keep(found)
    return found


def _idle(settings: Settings) -> list[str]:
    with Tegrastats(settings.interval_ms) as recording:
        return recording.idle(settings.idle_seconds)


def _rule(total: Total | None, idle: Recording) -> dict[str, Any]:
    """Which rails are the total, and what there is to say about it."""
    if total is None:
        names = ", ".join(idle.rails_mw) or "none"
        return {"total": None, "note": f"no rule is known for these rails: {names}; they are recorded without a total"}
    others = tegrastats.not_counted(total, idle.rails_mw)
    return {"total": asdict(total), "note": f"not in the total: {', '.join(others)}" if others else None}


def _bundle(
    folder: Path, settings: Settings, idle: Recording | None, total: Total | None, failed: list[str]
) -> dict[str, Any]:
    """Selftest, benchmark and energy of one bundle, as far as each works."""
    row: dict[str, Any] = {"folder": str(folder)}
    bundle = tried(f"open {folder}", partial(open_bundle, folder), failed)
    if bundle is None:
        return row
    manifest = bundle.manifest
    row |= {"engine": manifest.engine.name, "precision": manifest.precision, "size": manifest.contract.size}
    row |= {"built_for": manifest.engine.plan and asdict(manifest.engine.plan), "built_with": manifest.engine.version}
    row |= {"bytes": bundle.size_bytes(), "weights_sha256": manifest.source.weights_sha256}
    tested = tried(f"selftest {folder}", partial(selftest, bundle), failed)
    row["selftest"] = tested and asdict(tested)
    bench = tried(f"bench {folder}", partial(_bench, bundle, settings), failed)
    if bench is not None and bench.interrupted:
        raise KeyboardInterrupt
    row["bench"] = bench and bench.to_json()
    if idle is not None and bench is not None:  # an engine that crashes has done so by now, in a process of its own
        row |= tried(f"energy {folder}", partial(_energy, bundle, settings, idle, total), failed) or {}
    return row


def _bench(bundle: Bundle, settings: Settings) -> Any:
    """Beside nothing else: on a Jetson neither PyTorch nor memory for several engines can be counted on."""
    if settings.data is not None:
        return segexport.benchmark([bundle], settings.data, use_reference=False)
    with tempfile.TemporaryDirectory(prefix="segexport-") as scratch:
        size = bundle.manifest.contract.image_size
        data = scenes.write_dataset(Path(scratch), settings.images, seed=scenes.VALIDATION_SEED, size=size)
        images = open_data(data / "images", bundle.manifest.labels, need_masks=False)  # scenes have other classes
        return segexport.benchmark([bundle], images, use_reference=False)


def _energy(bundle: Bundle, settings: Settings, idle: Recording, total: Total | None) -> dict[str, Any]:
    """Power while frames are computed one right after the other, and what a frame takes of it."""
    rgb = scenes.scene(scenes.VALIDATION_SEED, bundle.manifest.contract.image_size)[0]
    with segexport.open(bundle) as net, Tegrastats(settings.interval_ms) as recording:
        load, lines = recording.load(net, net.from_rgb(rgb), settings.seconds)
    power = tegrastats.summarize(lines, total)
    frame = energy.per_frame(load, power, idle)
    return {"load": asdict(load), "power": asdict(power), "energy": frame and asdict(frame)}


def _write(out: Path, found: Report) -> None:
    write_json(out, asdict(found))


def _line(row: dict[str, Any]) -> str:
    """A bundle in one line, for the terminal."""
    bench, frame = row.get("bench"), row.get("energy")
    latency = f"{bench['rows'][0]['latency_ms']['p50']:.2f} ms" if bench else "no latency"
    joules = f"{frame['frame_mj']:.1f} mJ a frame" if frame else "no energy"
    return f"{row['folder']}: {latency}, {joules}"


def _end(number: int, frame: FrameType | None) -> None:
    """SIGTERM as an exit, so that what was started is ended."""
    sys.exit(128 + number)


def main() -> int:
    """Report on bundles on this Jetson."""
    parser = argparse.ArgumentParser(prog="scripts/jetson_report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="folder made by segexport build")
    parser.add_argument("--out", type=Path, default=Path("jetson-report.json"), help="the JSON to write")
    parser.add_argument("--data", type=Path, help="labelled images; generated scenes without it")
    parser.add_argument("--images", type=int, default=20, help="generated scenes to measure on")
    parser.add_argument("--seconds", type=float, default=20, help="of frames one after the other, for the energy")
    parser.add_argument("--idle-seconds", type=float, default=10, help="of idling before, for the difference")
    parser.add_argument("--interval", type=int, default=energy.INTERVAL_MS, help="of tegrastats, in milliseconds")
    parser.add_argument("--anyway", action="store_true", help="on a machine that is no Jetson, without power")
    arguments = parser.parse_args()
    if min(arguments.seconds, arguments.idle_seconds, arguments.interval, arguments.images) <= 0:
        parser.error("--seconds, --idle-seconds, --interval and --images are above 0")
    why = why_no_jetson()
    if why and not arguments.anyway:
        print(
            f"error: jetson_report needs a Jetson: {why}: copy the bundles to one, or pass --anyway for selftests and "
            "benchmarks without power",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, _end)
    settings = Settings(arguments.seconds, arguments.idle_seconds, arguments.interval, arguments.images, arguments.data)
    try:
        found = report(arguments.bundles, settings, is_jetson=not why, keep=partial(_write, arguments.out))
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in found.failed:
        print(f"failed: {line}", file=sys.stderr)
    for row in found.bundles:
        print(_line(row))
    print(f"{arguments.out}: {len(found.bundles)} bundles; {len(found.failed)} failed")
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
