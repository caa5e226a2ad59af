"""The report of a Jetson: recorded lines of tegrastats, a stand-in that replays them, and the whole on a CPU engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks import jetson_report
from segexport.bench import energy
from segexport.bench.energy import Load, Tegrastats, per_frame
from segexport.bench.tegrastats import TOTALS, Recording, Spread, not_counted, parse, summarize, total_for
from segexport.bundle import Bundle
from segexport.errors import EngineUnavailable, SegexportError
from tests.support.properties import examples

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "tests" / "recorded" / "tegrastats").glob("*.txt"))

STAND_IN = """#!{python}
import os, signal, sys, time
from pathlib import Path
here = Path({folder!r})
(here / "pid").write_text(str(os.getpid()))
{extra}
seconds = int(sys.argv[sys.argv.index("--interval") + 1]) / 1000
while True:
    for line in Path({lines!r}).read_text().splitlines():
        if not line.startswith("#"):
            print(line, flush=True)
            time.sleep(seconds)
"""


def lines_of(name: str) -> list[str]:
    text = (ROOT / "tests" / "recorded" / "tegrastats" / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


EVERY_LINE = [line for path in RECORDED for line in lines_of(path.stem)]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a `tegrastats` on PATH; gives the file that holds its process id."""

    def install(name: str = "agx-orin-r36", extra: str = "") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        lines = str(ROOT / "tests" / "recorded" / "tegrastats" / f"{name}.txt")
        program = folder / "tegrastats"
        text = STAND_IN.format(python=sys.executable, folder=str(folder), lines=lines, extra=extra)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder / "pid"

    return install


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet asked how does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.mark.parametrize(
    ("name", "modules", "total", "beside"),
    [
        ("agx-orin", "Jetson AGX Orin", 2340 + 390 + 4025, ()),
        ("agx-orin-r36", "Jetson AGX Orin", 2412 + 1607 + 4707, ()),
        ("orin-nano-r36", "Jetson Orin NX, Orin Nano, Xavier NX, TX2", 12479, ()),
        ("agx-xavier-r32", "Jetson AGX Xavier", 216 + 864 + 144 + 1889, ()),
        (
            "tx2-r32",
            "Jetson Orin NX, Orin Nano, Xavier NX, TX2",
            5297,
            ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_SYS_CPU", "VDD_SYS_DDR"),
        ),
        ("thor-r38", "Jetson Thor", 4165 + 4126, ()),
        ("thor-r39", "Jetson Thor", 4925 + 7953 + 6667, ()),
        ("thor-r39-vin", "Jetson Thor on a carrier board with its own power monitor (INA238)", 87426, ()),
    ],
)
def test_the_total_of_every_module(name: str, modules: str, total: int, beside: tuple[str, ...]) -> None:
    """The power now, not the average behind it: of VIN in the last one half as much."""
    sample = parse(lines_of(name)[0])
    assert sample is not None
    rule = total_for(sample.rails_mw)
    assert rule is not None
    assert (rule.modules, rule.of(sample)) == (modules, total)
    assert not_counted(rule, sample.rails_mw) == beside


def test_every_recording_is_tested() -> None:
    assert len(RECORDED) == 8
    assert len(EVERY_LINE) == 11
    assert all(parse(line) for line in EVERY_LINE)


def test_the_fields_of_orin() -> None:
    sample = parse(lines_of("agx-orin")[0])
    assert sample is not None
    assert sample.time == "04-11-2025 10:36:27"
    assert sample.ram_mb == (4321, 62801)
    assert sample.rails_mw == {"VDD_GPU_SOC": 2340, "VDD_CPU_CV": 390, "VIN_SYS_5V0": 4025, "VDDQ_VDD2_1V8AO": 301}
    assert (sample.gpu_load, sample.gpu_mhz) == (0, (0, 0))
    assert "GPU" not in sample.celsius, "a sensor without power says -256"
    assert sample.celsius["tj"] == 44.343
    two = parse("RAM 1/2MB (lfb 1x4MB) GR3D_FREQ 7%@306 GR3D2_FREQ 9%@408")
    assert two is not None
    assert (two.gpu_load, two.gpu_mhz) == (7, (306,))
    nano = parse(lines_of("orin-nano-r36")[0])
    assert nano is not None
    assert (nano.gpu_load, nano.gpu_mhz) == (63, (621,))


def test_the_fields_of_thor() -> None:
    """Three clocks and no load; three values a rail and two a temperature, of which the first is now."""
    sample = parse(lines_of("thor-r39")[0])
    assert sample is not None
    assert (sample.gpu_load, sample.gpu_mhz) == (None, (314, 314, 314))
    assert sample.rails_mw["VDD_CPU_SOC_MSS"] == 7953
    assert sample.celsius["cpu"] == 34.312


def test_spellings() -> None:
    old = parse("RAM 2673/7765MB (lfb 118x4MB) CPU [12%@1190,off] GR3D_FREQ 33% VDD_IN 4182/4100 VDD_SOC 997/941")
    assert old is not None
    assert old.time is None
    assert (old.rails_mw, old.gpu_load, old.gpu_mhz) == ({"VDD_IN": 4182, "VDD_SOC": 997}, 33, ())
    offset = parse("05-14-2026 21:36:35 RAM 26063/125772MB (lfb 35x4MB) VDD_GPU -392mW/-392mW VIN 15004mW/15096mW")
    assert offset is not None
    assert offset.rails_mw == {"VDD_GPU": -392, "VIN": 15004}
    dated = lines_of("orin-nano-r36")[0]
    undated = parse(dated.split(" ", 2)[2])
    assert undated is not None
    assert undated.rails_mw == parse(dated).rails_mw  # type: ignore[union-attr]
    for name in ("RAM", "SWAP", "APE", "CPU", "lfb"):
        assert name not in undated.rails_mw


def test_a_line_cut_off_gives_no_wrong_power() -> None:
    """tegrastats may be ended in the middle of a line."""
    for line in EVERY_LINE:
        whole = parse(line)
        assert whole is not None
        for end in range(len(line)):
            part = parse(line[:end])
            assert part is None or part.rails_mw.items() <= whole.rails_mw.items()
        assert parse(line[line.index("RAM") + 1 :]) is None


@examples(40)
@given(text=st.text(max_size=60), line=st.sampled_from(EVERY_LINE), at=st.integers(0, 400), count=st.integers(0, 40))
@example(text="", line=EVERY_LINE[0], at=0, count=0)
def test_no_line_is_fatal(text: str, line: str, at: int, count: int) -> None:
    mangled = line[:at] + text + line[at + count :]
    found = summarize([text, mangled, line], total_for(parse(line).rails_mw))  # type: ignore[union-attr]
    assert found.samples >= 1
    assert found.samples + found.malformed <= 3
    assert found.total_mw is not None


def test_rails_that_nobody_knows() -> None:
    assert total_for(["VDD_NEW", "VDD_SOC"]) is None
    assert total_for([]) is None
    assert total_for(["VIN"]) is None, "on a module that is not known"
    found = summarize(["RAM 1/2MB VDD_NEW 5000mW/1mW", "RAM 1/2MB VDD_NEW 7000mW/1mW"], None)
    assert found.total_mw is None
    assert (found.rails_mw, found.incomplete) == ({"VDD_NEW": 6000}, 0)
    industrial = total_for(["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "CVB_ATX_12V"])
    assert industrial is not None
    assert not_counted(industrial, ["VDD_GPU_SOC", "VDDQ_VDD2_1V8AO", "CVB_ATX_12V"]) == ("CVB_ATX_12V",)


def test_rules_name_a_source_and_count_nothing_twice() -> None:
    for total in TOTALS:
        assert total.source
        assert not set(total.rails) & set(total.contained)


def test_a_recording_in_figures() -> None:
    lines = lines_of("agx-orin-r36")
    total = total_for(["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"])
    found = summarize([*lines, "", "\n", "tegrastats: something", lines[0][:-40], lines[0][25:]], total)
    assert (found.samples, found.malformed, found.incomplete) == (4, 2, 1)
    assert found.total_mw == Spread(pytest.approx((8726 + 8626 + 8726) / 3), 8626, 8726)
    assert found.rails_mw["VIN_SYS_5V0"] == pytest.approx((4707 + 4607 + 4707) / 3)
    assert found.celsius["tj"] == 52.562
    assert (found.gpu_load, found.gpu_mhz) == (0, 0)


def test_energy_is_power_times_time() -> None:
    power = Recording(10, 0, 0, Spread(20_000, 19_000, 21_000))
    idle = Recording(10, 0, 0, Spread(8_000, 8_000, 8_000))
    found = per_frame(Load(frames=400, seconds=2.0), power, idle)
    assert found is not None
    assert found.frame_mj == pytest.approx(100), "20 W for 5 ms"
    assert found.above_idle_mj == pytest.approx(60)
    assert per_frame(Load(1, 1.0), Recording(1, 0, 0, None), idle) is None
    unknown = per_frame(Load(1, 1.0), power, None)
    assert unknown is not None
    assert unknown.above_idle_mj is None


def _fail_while_recording() -> None:
    with Tegrastats(20) as recording:
        recording.idle(0.5)
        raise RuntimeError("inside")


def test_recording_ends_with_its_block(stand_in) -> None:
    pid = stand_in("thor-r38")
    with Tegrastats(20) as recording:
        lines = recording.idle(0.5)
    assert summarize(lines, total_for(parse(lines[0]).rails_mw)).samples == len(lines) >= 1
    assert not is_alive(int(pid.read_text()))
    pid.unlink()
    with pytest.raises(RuntimeError, match="inside"):
        _fail_while_recording()
    assert not is_alive(int(pid.read_text()))


def test_one_that_does_not_end_is_killed(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = stand_in(extra="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with Tegrastats(20) as recording:
        recording.idle(0.1)
        monkeypatch.setattr(energy, "_PATIENCE_SECONDS", 0.2)
    assert not is_alive(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_report(stand_in, number: signal.Signals) -> None:
    """Killed outright, its next line finds nobody to read it."""
    pid = stand_in()
    program = (
        "import signal, sys\nfrom benchmarks.jetson_report import _end\nfrom segexport.bench.energy import Tegrastats\n"
        "signal.signal(signal.SIGTERM, _end)\n"
        "with Tegrastats(20) as recording:\n    recording.idle(1)\n    print('recorded', flush=True)\n"
        "    recording.idle(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "recorded\n"
        child.send_signal(number)
    assert child.returncode in (128 + number, -number)
    assert ends(int(pid.read_text()))


def test_what_tegrastats_did_wrong_is_said(stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(extra="print('needs root', file=sys.stderr); sys.exit(3)")
    with pytest.raises(SegexportError, match=r"ended by itself with code 3 .*needs root"), Tegrastats(20) as recording:
        recording.idle(0.5)
    stand_in(extra="time.sleep(60)")
    monkeypatch.setattr(energy, "_PATIENCE_SECONDS", 0.2)
    with pytest.raises(SegexportError, match="printed nothing"), Tegrastats(20) as recording:
        recording.idle(0.3)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(EngineUnavailable, match=r"cannot be run .*nvidia-l4t-tools"), Tegrastats(20):
        pass


WHY = f"there is no {jetson_report.RELEASE} here, and {jetson_report.MODEL} names no Jetson"
on_no_jetson = pytest.mark.skipif(not jetson_report.why_no_jetson(), reason="this is a Jetson")


@on_no_jetson
def test_elsewhere_one_line_says_so(tmp_path: Path) -> None:
    """From any folder, with the interpreter that is named; nothing is written."""
    done = subprocess.run(
        [ROOT / "scripts" / "jetson_report", "bundle"],
        env={**os.environ, "PYTHON": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: jetson_report needs a Jetson: {WHY}: copy the bundles to one, or pass --anyway for selftests and "
        "benchmarks without power\n"
    )
    assert not list(tmp_path.iterdir())


def test_commands_that_are_missing_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that fail, with what they said."""
    for name, text in (
        ("nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0"),
        ("dpkg-query", "echo no package >&2; exit 1"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.4, GCID: 41062509\n# more\n")
    (tmp_path / "model").write_text("NVIDIA Jetson AGX Orin Developer Kit\0")
    monkeypatch.setattr(jetson_report, "RELEASE", tmp_path / "release")
    monkeypatch.setattr(jetson_report, "MODEL", tmp_path / "model")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jetson_report.why_no_jetson() == ""
    facts = jetson_report.jetson_facts()
    assert facts["model"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert facts["l4t"] == "# R36 (release), REVISION: 4.4, GCID: 41062509"
    assert facts["power_mode"] == {"command": "nvpmodel -q", "output": "NV Power Mode: MAXN\n0"}
    assert facts["jetpack"]["error"] == "no package"
    assert facts["clocks"]["error"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["jetson_report", *map(str, arguments)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        return jetson_report.main()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.bundle
@pytest.mark.slow
def test_a_report_on_an_engine_that_is_here(
    bundle: Bundle, stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's CPU provider in the place of TensorRT, a Jetson's files beside it; a bundle that is not there."""
    pid = stand_in("agx-orin")
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.4\n")
    monkeypatch.setattr(jetson_report, "RELEASE", tmp_path / "release")
    out = tmp_path / "out.json"
    times = ("--seconds", 0.5, "--idle-seconds", 0.5, "--interval", 20, "--images", 2)
    assert run(monkeypatch, bundle.folder, tmp_path / "absent", "--out", out, *times) == 1
    assert not is_alive(int(pid.read_text()))
    content = json.loads(out.read_text())
    assert content["finished"]
    assert content["jetson"]["l4t"] == "# R36 (release), REVISION: 4.4"
    assert content["power"]["total"]["rails"] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert content["power"]["idle"]["total_mw"] == {"mean": 6755, "least": 6755, "most": 6755}
    built, absent = content["bundles"]
    assert absent == {"folder": str(tmp_path / "absent")}
    assert built["selftest"]["agreement"] == 1
    assert len(built["bench"]["rows"]) == 1
    assert built["load"]["frames"] >= 1
    assert built["power"]["samples"] >= 1
    seconds = built["load"]["seconds"] / built["load"]["frames"]
    assert built["energy"]["frame_mj"] == pytest.approx(6755 * seconds)
    assert built["energy"]["above_idle_mj"] == pytest.approx(0, abs=1e-9)
    (failed,) = content["failed"]
    assert failed.startswith(f"open {tmp_path / 'absent'}: ")
    said = capsys.readouterr()
    assert f"failed: {failed}" in said.err
    assert said.out.splitlines()[-1] == f"{out}: 2 bundles; 1 failed"
    assert "mJ a frame" in said.out


@pytest.mark.bundle
def test_rails_without_a_rule_are_reported_without_a_total(
    bundle: Bundle, stand_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(extra="while True:\n    print('RAM 1/2MB VDD_NEW 500mW/500mW', flush=True)\n    time.sleep(0.02)")
    (tmp_path / "release").write_text("# R40\n")
    monkeypatch.setattr(jetson_report, "RELEASE", tmp_path / "release")
    out = tmp_path / "out.json"
    times = ("--seconds", 0.3, "--idle-seconds", 0.5, "--images", 2)
    assert run(monkeypatch, bundle.folder, "--out", out, *times) == 0
    content = json.loads(out.read_text())
    assert content["power"]["total"] is None
    assert "no rule is known for these rails: VDD_NEW" in content["power"]["note"]
    (built,) = content["bundles"]
    assert built["power"]["rails_mw"] == {"VDD_NEW": 500}
    assert built["energy"] is None


@on_no_jetson
@pytest.mark.bundle
def test_anyway_leaves_power_out(bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shutil.which("tegrastats") is None
    out = tmp_path / "out.json"
    assert run(monkeypatch, bundle.folder, "--anyway", "--data", data, "--out", out) == 0
    content = json.loads(out.read_text())
    assert content["jetson"] is None
    assert content["power"]["note"] == "this is no Jetson: power was not measured"
    (built,) = content["bundles"]
    assert built["bench"]["rows"][0]["miou"] is not None
    assert "energy" not in built


@pytest.mark.bundle
def test_a_jetson_without_tegrastats_is_a_failure(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be measured is."""
    (tmp_path / "release").write_text("# R36\n")
    monkeypatch.setattr(jetson_report, "RELEASE", tmp_path / "release")
    monkeypatch.setattr(energy, "PROGRAM", "tegrastats-that-is-not-there")
    out = tmp_path / "out.json"
    assert run(monkeypatch, bundle.folder, "--out", out, "--images", 2) == 1
    content = json.loads(out.read_text())
    (failed,) = content["failed"]
    assert failed.startswith("idle power: tegrastats-that-is-not-there cannot be run")
    assert content["bundles"][0]["selftest"]["agreement"] == 1
    assert content["bundles"][0]["bench"]
