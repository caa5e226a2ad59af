"""The benchmark against other tools: its cases, its arithmetic, its tables, and what becomes of a worker that fails."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import environments
from benchmarks import (
    calibration_count,
    cases,
    contenders,
    gains,
    markdown,
    measure,
    process,
    run,
    scores,
    weights,
)
from benchmarks.calibration_count import Draw
from benchmarks.cases import Case, CaseError
from benchmarks.contenders import Contender
from benchmarks.peak import Peak, share
from benchmarks.process import Worker, WorkerFailed
from benchmarks.results import Absence, CaseResult, Row, Run, ratios, with_shares
from benchmarks.scores import Score
from segexport.calibration import sampling
from segexport.checkpoint import load
from segexport.datasets import Sample, open_data
from segexport.evaluation.bootstrap import Interval

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
    assert [case.name for case in read if case.is_scored] == ["b0-360x480-camvid", "camvid-precision"]
    assert [case.name for case in read if case.table == "precisions"] == ["camvid-precision"]


def test_cases_leave_out_only_contenders_that_there_are():
    known = {contender.name for contender in contenders.PEERS}
    assert all(set(case.leave_out) <= known for case in cases.read())


def test_a_case_with_a_typing_error_is_refused(tmp_path):
    (tmp_path / "cases.toml").write_text('[[case]]\nname = "a"\nsize = [1, 2]\nsise = 3\n')
    with pytest.raises(CaseError, match=r"case a: .*sise"):
        cases.read(tmp_path / "cases.toml")
    whole = 'name = "a"\nmodel = "b0"\nsize = [1, 2]\nlabels = 3\nweights = "trained"\ncalls = 1\n'
    (tmp_path / "cases.toml").write_text(f'[[case]]\n{whole}table = "other"\n')
    with pytest.raises(CaseError, match="case a: tables are peers or precisions, not other"):
        cases.read(tmp_path / "cases.toml")


def test_an_unknown_case_names_those_there_are(capsys):
    assert run.main(["--case", "b9"]) == 2
    assert "there is no case b9: choose from b0-360x480-camvid" in " ".join(capsys.readouterr().err.split())


def test_without_shared_weights_the_way_out_is_named(monkeypatch, tmp_path):
    case = Case("c", "b0", (8, 9), 3, "trained", 2, checkpoint=tmp_path / "missing")
    monkeypatch.setattr(cases, "read", lambda: [case])
    with pytest.raises(CaseError, match="pass --checkpoint DIR and --data DIR"):
        cases.chosen([])


def test_an_own_checkpoint_is_a_case_at_its_own_size(checkpoint, data):
    case = cases.own(checkpoint, data)
    assert (case.size, case.weights, case.is_scored) == ((64, 96), "own", True)
    images = weights.images(case)
    assert [sample.image.shape for sample in images] == [(64, 96, 3)] * 3
    assert weights.checkpoint(case, checkpoint / "unused", 1) == checkpoint


def test_every_contender_has_an_environment_with_pytorch_alone():
    for name in {contender.environment for contender in (*contenders.PEERS, *contenders.STOCK)}:
        pinned = environments.requirements(name)
        assert "torch==2.13.0" in pinned
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


@pytest.mark.slow
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


def test_a_table_of_precisions_has_every_precision_that_the_engines_have(tmp_path):
    taking_part, left_out = contenders.field_of("precisions")
    names = {contender.name for contender in taking_part}
    assert {"hf-eager", "plain-onnx", "ort-quantize-static", "nncf-int8", "modelopt-int8"} <= names
    assert {"segexport-onnxruntime", "segexport-onnxruntime-fp16", "segexport-onnxruntime-int8"} <= names
    assert "segexport-onnxruntime-bf16" not in names | set(left_out)
    assert "--placement FILE" in left_out["segexport-openvino-int8-tuned"]
    taking_part, left_out = contenders.field_of("precisions", tmp_path / "placement.json")
    assert taking_part[-1].request["placement"] == str(tmp_path / "placement.json")
    assert "segexport-openvino-int8-tuned" not in left_out


def test_a_table_of_peers_has_no_lower_precisions_than_bf16():
    taking_part, left_out = contenders.field_of("peers")
    names = {*(contender.name for contender in taking_part), *left_out}
    assert not any(name.endswith(("int8", "fp16", "tuned")) for name in names)


def test_contenders_of_several_tables_are_listed_once():
    eager = entrant("hf-eager", "a.py")
    fields = {"peers": ([eager, entrant("b", "b.py")], {"x": "why"}), "precisions": ([eager], {"x": "why", "y": "so"})}
    taking_part, absent = run._field(fields, [])
    assert [contender.name for contender in taking_part] == ["hf-eager", "b"]
    assert [absence.contender for absence in absent] == ["x", "y"]
    with pytest.raises(CaseError, match="choose from hf-eager, b, x, y"):
        run._field(fields, ["z"])


def test_everybody_calibrates_with_the_images_that_segexport_draws(camvid_checkpoint, data, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "CALIBRATION", data)
    monkeypatch.setattr(weights, "SAMPLES", 2)
    case = Case("c", "b0", (64, 96), 11, "trained", 1, checkpoint=camvid_checkpoint, data=data)
    told = weights.calibration(case, tmp_path)
    assert (told["samples"], told["seed"], told["data"]) == (2, 0, str(data))
    images = open_data(data, load(camvid_checkpoint).labels, need_masks=False)
    expected = [images.sample(index).image for index in sampling.drawn(len(images), 2, 0, "")]
    assert np.array_equal(np.load(told["images"]), expected)


def test_scores_are_held_against_the_baseline_image_by_image():
    truth = np.zeros((4, 6), np.uint8)
    truth[:, 3:] = 1
    samples = [Sample(name, np.full((4, 6, 3), value, np.uint8), truth) for name, value in (("a", 0), ("b", 1))]
    half = np.zeros_like(truth)
    decisions = {"ours": lambda image: truth, "stock": lambda image: half, "fails": lambda image: truth}

    def decide(name, image):
        return None if name == "fails" and image.max() else decisions[name](image)

    found = scores.score(list(decisions), "ours", samples, 2, decide)
    assert found["ours"] == Score(2, 1.0, None, None)
    assert (found["stock"].miou, found["stock"].agreement) == (0.25, 0.5)
    assert found["stock"].change == Interval(-0.75, -0.75, -0.75)
    assert "fails" not in found
    assert scores.score(["stock"], "", samples, 2, decide)["stock"].change is None


def test_the_baseline_is_the_first_of_our_own_in_fp32():
    assert (
        scores.baseline_of({"segexport-a-int8": "int8", "segexport-b": "fp32", "segexport-c": "fp32"}) == "segexport-b"
    )
    assert scores.baseline_of({}) == ""


def test_a_worker_is_called_on_the_data_sets_too(trivial, tmp_path):
    case = Case("c", "b0", (8, 9), 3, "trained", 1, table="precisions")
    sample = Sample("i", np.zeros((8, 9, 3), np.uint8), np.full((8, 9), 1, np.uint8))
    ours = Contender("segexport-x", environments.OWN, trivial, {"mood": "fine", "class": 1, "precision": "fp32"})
    stock = Contender("stock", environments.OWN, trivial, {"mood": "fine", "class": 2, "precision": "int8"})
    found = measure.run(case, [ours, stock], [], [sample], tmp_path, tmp_path, 1, scored_on={"val": [sample, sample]})
    assert found.scores["val"]["segexport-x"] == Score(2, 1.0, None, None)
    assert found.scores["val"]["stock"].change == Interval(-1.0, -1.0, -1.0)
    assert found.scores["val"]["stock"].agreement == 0.0


def test_markdown_of_precisions_has_scores_and_the_ratio_to_our_best_fp32():
    change = Interval(-0.005, -0.0061, -0.004)
    of_set = {"segexport-x": Score(101, 0.5888, None, None), "stock": Score(101, 0.5838, change, 0.99)}
    rows = (row("segexport-x", 10, 5, size_bytes=15_000_000), row("segexport-y", 8, 5), row("stock", 4, 2))
    case = dataclasses.replace(result(*rows), scores={"val": of_set})
    lines = markdown.render(a_run(case)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert cells[0][-2:] == ["x segexport-y", "MB on disk"]
    assert cells[1] == ["segexport-x", "fp32", "58.88", "-", "-", "10.0", "9.0-12.0", "5.0", "0.80", "15.0"]
    assert cells[2][2:5] == ["-", "-", "-"]
    assert cells[3][2:] == ["58.38", "-0.50 (-0.61 to -0.40)", "99.00", "4.0", "3.6-4.8", "2.0", "2.00", "-"]
    assert "101 of val" in " ".join(lines)
    assert "are against segexport-x" in " ".join(lines)
    assert a_run(case).to_json()["cases"][0]["scores"]["val"]["stock"]["change"]["low"] == -0.0061


def test_a_run_of_some_cases_is_named_after_them(tmp_path):
    assert run._write(a_run(), tmp_path, ["c"]).name == "2026-01-02-a-cpu-r-2-ghz-c"


def test_the_count_of_calibration_images_is_told_over_its_draws():
    draws = [Draw(1, 0, -0.01, 20.0), Draw(1, 1, -0.03, 22.0), Draw(8, 0, 0.001, 30.0)]
    text = calibration_count.render(draws, "said")
    assert "| 1 | -2.00 | -3.00 | -1.00 | 21.0 | 20.0 | 22.0 |" in text
    assert "| 8 | +0.10 | +0.10 | +0.10 | 30.0 | 30.0 | 30.0 |" in text
    begin, end = calibration_count.BEGIN, calibration_count.END
    page = gains.between_markers(f"before {begin}{end} behind", text, begin, end)
    assert page.startswith("before <!-- count -->\n\nsaid")
    assert page.endswith("behind")


def test_the_page_of_calibration_has_room_for_its_table():
    page = calibration_count.PAGE.read_text(encoding="utf-8")
    assert page.index(calibration_count.BEGIN) < page.index(calibration_count.END)


def test_sqnr_is_signal_over_noise():
    one = [np.full((1, 2, 2, 1), 10.0, np.float32)]
    assert calibration_count.sqnr_db(one, [one[0] + 1]) == pytest.approx(20.0)
    assert calibration_count.sqnr_db(one, one) == float("inf")
