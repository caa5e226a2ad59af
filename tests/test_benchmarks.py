"""The benchmark against other tools: its cases, its arithmetic, its tables, and what becomes of a worker that fails."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cases, contenders, environments, markdown, measure, process, run, weights
from benchmarks.cases import Case, CaseError
from benchmarks.contenders import Contender
from benchmarks.peak import Peak, share
from benchmarks.process import Worker, WorkerFailed
from benchmarks.results import Absence, CaseResult, Row, Run, ratios, with_shares
from segexport.evaluate.datasets import Sample

TRIVIAL = """
import re
import sys
sys.path.insert(0, {workers!r})
import numpy as np
from protocol import serve, timed

def prepare(request):
    return {{"size_bytes": 7}}

def open_(request):
    if request["mood"] == "broken":
        raise ValueError("no such\\n  model")
    def call(rgb):
        if request["mood"] == "dies":
            print("out of luck", flush=True)
            sys.exit(3)
        if request["mood"] == "refuses":
            raise RuntimeError("not this image")
        return timed(0.002, 0.001, np.full(rgb.shape[:2], request["class"]))
    return call, {{"precision": "fp32", "versions": {{"trivial": "1"}}}}

serve(open_, prepare)
"""


@pytest.fixture
def trivial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker that sees one class everywhere, where the real ones are looked for."""
    (tmp_path / "trivial.py").write_text(TRIVIAL.format(workers=str(process.WORKERS)))
    monkeypatch.setattr(process, "WORKERS", tmp_path)
    return "trivial.py"


def entrant(name: str, script: str, mood: str = "fine", seen: int = 1, prepares: bool = True) -> Contender:
    return Contender(name, environments.OWN, script, {"mood": mood, "class": seen}, prepares)


def row(name: str, whole: float, network: float | None, memory: int = 100_000_000, **facts) -> Row:
    spread = {"p10": 0.9, "p50": 1.0, "p90": 1.2}
    scaled = {
        "whole_ms": {k: v * whole for k, v in spread.items()},
        "network_ms": None if network is None else {k: v * network for k, v in spread.items()},
    }
    known = {"macs": None, "agreement": 1.0, "miou": None, "versions": {"thing": "1.0"}, **facts}
    return Row(contender=name, precision="fp32", calls=12, peak_memory_bytes=memory, **scaled, **known)


def result(*rows: Row, absent: tuple[Absence, ...] = ()) -> CaseResult:
    return CaseResult("b0-x", "b0", (64, 96), 11, "trained weights", 4, 12, rows, absent)


def a_run(*found: CaseResult) -> Run:
    machine = {"processor": "A CPU (R) @ 2 GHz", "flags": ["avx2"], "cores": 2, "threads": 2, "system": "Linux"}
    best = {"fp32": {"gflops": 100.0, "library": "torch", "shape": "2048x2048x2048"}}
    return Run("2026-01-02T03:04:05+00:00", 3.2, machine, {"best": best, "samples": {}, "failed": {}}, found)


def test_cases_parse():
    read = cases.read()
    assert {case.model for case in read} == {"b0", "b2", "b5"}
    assert {(case.size, case.labels) for case in read} == {((360, 480), 11), ((512, 512), 150), ((1024, 1024), 19)}
    assert [case.name for case in read if case.is_scored] == ["b0-360x480-camvid"]


def test_cases_leave_out_only_contenders_that_there_are():
    known = {contender.name for contender in contenders.PEERS}
    assert all(set(case.leave_out) <= known for case in cases.read())


def test_a_case_with_a_typing_error_is_refused(tmp_path):
    (tmp_path / "cases.toml").write_text('[[case]]\nname = "a"\nsize = [1, 2]\nsise = 3\n')
    with pytest.raises(CaseError, match=r"case a: .*sise"):
        cases.read(tmp_path / "cases.toml")


def test_an_unknown_case_names_those_there_are(capsys):
    assert run.main(["--case", "b9"]) == 2
    assert "there is no case b9: choose from b0-360x480-camvid" in " ".join(capsys.readouterr().err.split())


def test_without_shared_weights_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(cases, "CHECKPOINT", tmp_path / "missing")
    with pytest.raises(CaseError, match="pass --checkpoint DIR and --data DIR"):
        cases.chosen([])


def test_an_own_checkpoint_is_a_case_at_its_own_size(checkpoint, data):
    case = cases.own(checkpoint, data)
    assert (case.size, case.weights, case.is_scored) == ((64, 96), "own", True)
    images = weights.images(case)
    assert [sample.image.shape for sample in images] == [(64, 96, 3)] * 3
    assert weights.checkpoint(case, checkpoint / "unused", 1) == checkpoint


def test_every_environment_pins_every_package():
    for name in {contender.environment for contender in contenders.PEERS}:
        lines = (environments.REQUIREMENTS / f"{name}.txt").read_text().splitlines()
        pinned = [line for line in lines if not line.startswith("#")]
        assert "torch==2.13.0" in pinned
        assert all(line.count("==") == 1 for line in pinned)
        assert not any(line.startswith("torchvision") for line in pinned)


def test_ratios_are_the_references_time_over_the_rows():
    found = ratios(row("fast", 10, 5, 50_000_000), row("hf-eager", 40, 30))
    assert found == pytest.approx({"whole": 4.0, "network": 6.0, "memory": 0.5})
    assert ratios(row("whole only", 10, None), row("hf-eager", 40, 30))["network"] is None


def test_share_of_peak_counts_two_operations_a_product():
    assert share(4_000_000_000, 0.1, {"gflops": 100.0}) == pytest.approx(0.8)
    assert share(None, 0.1, {"gflops": 100.0}) is None
    assert share(4_000_000_000, 0.1, None) is None
    found = with_shares(result(row("a", 120, 100, macs=4_000_000_000)), {"fp32": {"gflops": 100.0}})
    assert found.rows[0].share_of_peak == pytest.approx(0.8)


def test_markdown_has_a_table_a_case_with_ratios_and_absences():
    absent = (Absence("torch-compile", "opening", "no compiler"),)
    rows = (row("hf-eager", 40, 30), row("optimum-onnx", 20, 15), row("segexport-x", 10, 5, 50_000_000, miou=0.5888))
    text = markdown.render(a_run(result(*rows, absent=absent)))
    line = next(line for line in text.splitlines() if line.startswith("| segexport-x"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:] == [
        *("10.0", "9.0-12.0", "5.0", "4.5-6.0", "4.00", "2.00", "6.00", "3.00", "50", "0.50", "-", "-"),
        *("100.000", "58.88"),
    ]
    assert "- torch-compile: no row (opening): no compiler" in text
    assert "fp32 100 GFLOP/s (torch, 2048x2048x2048)" in text


def test_json_holds_ratios_and_never_nan():
    content = a_run(result(row("hf-eager", 40, 30), row("a", 10, 5, miou=float("nan")))).to_json()
    entry = content["cases"][0]["rows"][1]
    assert entry["ratios"]["hf-eager"]["whole"] == pytest.approx(4.0)
    assert entry["miou"] is None
    assert "optimum-onnx" not in entry["ratios"]


def test_a_derived_head_decides_as_the_trained_one_does():
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((11, 256, 1, 1)).astype(np.float32) * 0.05
    bias = rng.standard_normal(11).astype(np.float32)
    features = np.maximum(rng.standard_normal((5000, 256)), 0).astype(np.float32)
    more, lower = weights.derived_head(weight, bias, 150)
    assert more.shape == (150, 256, 1, 1)
    assert np.array_equal(more[:11], weight)
    assert len(np.unique(more.reshape(150, -1), axis=0)) == 150
    trained = (features @ weight[:, :, 0, 0].T + bias).argmax(1)
    derived = (features @ more[:, :, 0, 0].T + lower).argmax(1)
    assert np.array_equal(derived % 11, trained)


def test_a_derived_checkpoint_is_one_that_segexport_takes(camvid_checkpoint, tmp_path):
    from segexport.checkpoint import load

    case = Case("c", "b0", (128, 160), 150, "derived", 1, checkpoint=camvid_checkpoint)
    loaded = load(weights.checkpoint(case, tmp_path / "derived", 1))
    assert (len(loaded.labels), loaded.default_size) == (150, (128, 160))


def test_a_worker_prepares_answers_and_tells_its_peak_memory(trivial, tmp_path):
    request = {"mood": "fine", "class": 4}
    facts = process.prepare(trivial, environments.OWN, 1, tmp_path / "log", request)
    assert facts == {"size_bytes": 7}
    with process.start(trivial, environments.OWN, 1, tmp_path / "log") as worker:
        assert worker.ask({**request, "do": "open"})["versions"] == {"trivial": "1"}
        answer = worker.ask(np.zeros((3, 5, 3), np.uint8))
        assert (answer["whole"], answer["network"]) == (0.002, 0.001)
        assert np.array_equal(answer["map"], np.full((3, 5), 4, np.uint8))
        assert worker.stop() > 1_000_000


@pytest.mark.parametrize(
    ("mood", "stage", "reason"),
    [
        ("broken", "opening", "ValueError: no such model"),
        ("dies", "warming up", r"its process died \(exit status 3\); its last words: out of luck"),
        ("refuses", "warming up", "RuntimeError: not this image"),
    ],
)
def test_a_worker_that_fails_is_recorded_and_the_others_go_on(trivial, tmp_path, mood, stage, reason):
    case = Case("c", "b0", (8, 9), 3, "trained", 2, leave_out={"unwanted": "too slow"})
    sample = Sample("i", np.zeros((8, 9, 3), np.uint8), np.full((8, 9), 1, np.uint8))
    field = [
        entrant("hf-eager", trivial, prepares=False),
        entrant("bad", trivial, mood),
        entrant("other", trivial, seen=2),
        entrant("unwanted", trivial),
    ]
    found = measure.run(case, field, [], [sample], tmp_path, tmp_path, 1)
    assert [r.contender for r in found.rows] == ["hf-eager", "other"]
    assert [(r.agreement, r.miou) for r in found.rows] == [(1.0, 1.0), (0.0, 0.0)]
    unwanted, failure = found.absent
    assert (unwanted.contender, unwanted.stage, unwanted.reason) == ("unwanted", "left out", "too slow")
    assert (failure.contender, failure.stage) == ("bad", stage)
    assert re.fullmatch(reason, failure.reason)


def test_a_worker_that_hangs_is_given_up(trivial, tmp_path):
    (process.WORKERS / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    with (
        Worker(process.WORKERS / "hangs.py", Path(sys.executable), 1, tmp_path / "log") as worker,
        pytest.raises(WorkerFailed, match="no answer within 0 s"),
    ):
        worker.ask({"do": "open"}, seconds=0.1)


def test_peak_takes_the_best_of_all_libraries_and_times():
    peak = Peak(["fp32"], 1, Path())
    peak.samples["torch"] = [{"fp32": {"a": 50.0}}, {"fp32": {"a": 70.0, "b": 60.0}, "bf16": {"a": 10.0}}]
    peak.samples["numpy"] = [{"fp32": {"a": 65.0}}]
    assert peak.best()["fp32"] == {"gflops": 70.0, "library": "torch", "shape": "a"}
    assert peak.best()["bf16"]["gflops"] == 10.0


def test_precisions_follow_the_processors_flags():
    assert contenders.precisions({"avx512f"}) == ["fp32"]
    assert contenders.precisions({"avx512_bf16", "avx512_vnni"}) == ["fp32", "bf16", "int8"]


def test_a_file_is_named_after_the_processor():
    assert run.slug("AMD EPYC 7763 64-Core (R)") == "amd-epyc-7763-64-core-r"
