"""Which layer does it: noise at points of the network, and the images and classes that changed most."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import onnx_ir as ir
import pytest
from rich.console import Console

import segexport
from segexport import scenes
from segexport.bench import noise
from segexport.bench.changes import Changes
from segexport.bench.explain import explain, open_comparable
from segexport.bench.explanation import Explained, Explanation, ImageChange, PointNoise
from segexport.bench.noise import RunningNoise, verdict
from segexport.bench.points import Point, find_points
from segexport.bundle import Bundle
from segexport.data import read_json
from segexport.errors import ContractError
from segexport.evaluation.bootstrap import ImageCounts, paired_iou
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.precision.ranges import Ranges
from segexport.report import explanation as report
from tests.support.checkpoints import SIZE
from tests.support.cli import RunCli
from tests.support.handmade import graph_of

POINTS = ["stage 1", "stage 2", "stage 3", "stage 4", "decode head", "logits"]


def test_running_sums_are_those_of_the_whole_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_CHUNK", 7)  # several, the last not full
    rng = np.random.default_rng(0)
    ours = [rng.standard_normal((3, 4, 5)).astype(np.float32) for _ in range(4)]
    theirs = [one + rng.normal(0, 0.1, one.shape).astype(np.float32) for one in ours]
    sums = RunningNoise()
    for one, other in zip(ours, theirs, strict=True):
        sums.update(one, other)
    found = sums.found("here")
    r, x = np.ravel(ours).astype(np.float64), np.ravel(theirs).astype(np.float64)
    assert found.point == "here"
    assert found.cosine == pytest.approx(np.dot(r, x) / (np.linalg.norm(r) * np.linalg.norm(x)), rel=1e-12)
    assert found.max_error == np.abs(r - x).max()
    assert found.sqnr_db == pytest.approx(10 * np.log10((r**2).sum() / ((r - x) ** 2).sum()), rel=1e-12)
    assert 15 < found.sqnr_db < 25
    assert found.not_finite == 0
    assert not found.exact


def test_equal_numbers_are_exact() -> None:
    sums = RunningNoise()
    numbers = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    sums.update(numbers, numbers.copy())
    assert sums.found("p") == PointNoise("p", 1.0, 0.0, None)
    assert sums.found("p").exact


def test_numbers_that_are_none_are_counted() -> None:
    sums = RunningNoise()
    sums.update(np.ones(4, np.float32), np.array([1, np.inf, np.nan, 1], np.float32))
    sums.update(np.ones(4, np.float32), np.array([-np.inf, 1, 1, 1], np.float32))
    assert sums.found("p") == PointNoise("p", None, None, None, 3)
    assert not sums.found("p").exact


def test_zeros_have_no_ratio() -> None:
    sums = RunningNoise()
    sums.update(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert sums.found("p") == PointNoise("p", None, 1.0, None)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="beside"):
        RunningNoise().update(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


def points(*decibels: float | None) -> list[PointNoise]:
    """Points named a, b, c, ... of so many dB; None is exact."""
    return [PointNoise(chr(97 + i), 1.0, 0.0 if d is None else 0.1, d) for i, d in enumerate(decibels)]


@pytest.mark.parametrize(
    ("decibels", "said"),
    [
        ((60, 40, 20, 18), "most is lost between b and c (40.0 dB, then 20.0 dB)"),
        ((30, 29.5, 29, 28.5), "most is lost up to a (30.0 dB there)"),
        ((None, None, 25, 24.5), "most is lost between b and c (exact, then 25.0 dB)"),
        ((29, 30, 35, 28), "most is lost up to a (29.0 dB there)"),  # d sums up what a and b lost
        ((20, 17.5, 16), "no one step loses most; the largest is up to a (20.0 dB there)"),
        ((125, 95.5, 130), "rounding alone: 95.5 dB or more at every point"),
        ((None, None), "equal, number for number, at every point"),
        ((), "no point in common: nothing to compare"),
    ],
)
def test_the_sentence_says_what_the_numbers_say(decibels: tuple[float | None, ...], said: str) -> None:
    assert verdict(points(*decibels)) == said


def test_overflow_comes_first() -> None:
    found = [*points(20.0), PointNoise("b", None, None, None, 7), PointNoise("c", None, None, None, 9)]
    assert verdict(found) == "7 numbers are NaN or infinite at b, the first place with any"


def maps(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


def test_images_and_classes_without_masks() -> None:
    found = Changes(["zero", "one", "two"])
    found.update("same", maps("0011", "2222"), maps("0011", "2222"), None)
    found.update("little", maps("0011", "2222"), maps("0010", "2222"), None)
    found.update("much", maps("0000", "1111"), maps("0022", "1222"), None)
    assert [(i.name, i.changed, i.miou_change) for i in found.images()] == [
        ("much", 5 / 8, None),
        ("little", 1 / 8, None),
    ]
    one, zero = found.classes()
    # Of 8 pixels of class one, 1 became zero and 3 two; of 8 of class zero, 2 became two; two stayed.
    assert (one.name, one.changed, one.became, one.became_share) == ("one", 4 / 8, "two", 3 / 8)
    assert (zero.name, zero.changed, zero.became, zero.became_share) == ("zero", 2 / 8, "two", 2 / 8)
    assert one.iou_change is zero.iou_change is None


def test_images_and_classes_with_masks() -> None:
    rng = np.random.default_rng(3)
    found = Changes([f"class {i}" for i in range(8)])
    ours, theirs, alone = ImageCounts(8), ImageCounts(8), []
    for index in range(9):
        mask = rng.integers(0, 8, (12, 10)).astype(np.uint8)
        mask[0] = 255
        baseline = np.where(rng.random(mask.shape) < 0.8, mask % 8, 0).astype(np.uint8)
        other = np.where(rng.random(mask.shape) < 0.1 * index, 1, baseline).astype(np.uint8)
        found.update(str(index), baseline, other, mask)
        ours.update(mask, other)
        theirs.update(mask, baseline)
        before, after = ConfusionMatrix(8), ConfusionMatrix(8)
        before.update(mask, baseline)
        after.update(mask, other)
        alone.append((float((baseline != other).mean()), after.miou() - before.miou()))
    images = found.images()
    assert len(images) == 5
    assert [i.changed for i in images] == sorted((changed for changed, _ in alone), reverse=True)[:5]
    for image in images:
        assert (image.changed, image.miou_change) == pytest.approx(alone[int(image.name)], abs=1e-12)
    changes = paired_iou(ours, theirs).classes
    order = sorted(range(8), key=lambda i: -abs(changes[i].value))
    assert [c.name for c in found.classes()] == [f"class {i}" for i in order[:5]]
    assert [c.iou_change for c in found.classes()] == [changes[i] for i in order[:5]]
    assert all(c.became == "class 1" for c in found.classes() if c.name not in ("class 1",))


def test_a_gain_is_a_change_too() -> None:
    found = Changes(["zero", "one", "two", "three"])
    found.update("image", maps("00000001", "00000333"), maps("00000001", "11110333"), maps("00000001", "11111333"))
    one, zero = found.classes()
    assert (one.name, zero.name) == ("one", "zero")
    assert one.iou_change is not None
    assert one.iou_change.value == pytest.approx(5 / 6 - 1 / 6)
    assert zero.iou_change is not None
    assert zero.iou_change.value == pytest.approx(7 / 8 - 7 / 12)
    found.update("worse", maps("2222"), maps("2223"), maps("2222"))
    assert [c.name for c in found.classes()] == ["one", "zero", "two", "three"]


def test_an_image_of_ignored_pixels_has_no_score() -> None:
    found = Changes(["zero", "one"])
    found.update("unlabelled", maps("00"), maps("01"), maps("00") + 255)
    (image,) = found.images()
    assert image.miou_change is None
    assert found.classes() == ()


def test_a_classifier_changes_by_its_best_class() -> None:
    """Class 255 is a class like any other there, and what comes second does not count."""
    found = Changes([f"class {i}" for i in range(300)])
    found.update("same", np.array([255, 3]), np.array([255, 4]), None)
    found.update("other", np.array([255, 3]), np.array([299, 255]), None)
    assert found.images() == (ImageChange("other", 1.0, None),)
    (one,) = found.classes()
    assert (one.name, one.changed, one.became) == ("class 255", 0.5, "class 299")


def named(graph: ir.Graph, names: dict[str, str]) -> ir.Graph:
    """Give nodes, known by their outputs' names, the modules they come from."""
    for node in graph:
        node.name = f"{names.get(node.outputs[0].name or '', 'elsewhere')}/{node.op_type}"
    return graph


@pytest.mark.parametrize("module", ["linear_c", "linear_projections"])
def test_points_of_a_graph_without_rewrites(module: str) -> None:
    """The linear layer with its bias, in the names of transformers 4 and 5."""
    graph = graph_of(
        "(float[1,2,6,4] x) => (float[1,3,6,2] logits)",
        "p = MatMul(x, w) half = Cast<to = 10>(p) back = Cast<to = 1>(half) t = Add(back, b) relu = Relu(t) "
        "logits = Conv(relu, k)",
        {"w": np.ones((4, 2)), "b": np.ones(2), "k": np.ones((3, 2, 1, 1))},
    ).model.graph
    layer = f"decode_head.{module}.0.proj"
    found = find_points(named(graph, {"p": layer, "t": layer, "logits": "decode_head.classifier"}))
    assert [(point.name, point.form, value.name) for point, value in found.items()] == [
        ("stage 1", "linear", "t"),
        ("decode head", Point("decode head").form, "relu"),
        ("logits", Point("logits").form, "logits"),
    ]


def test_points_before_quantisation_and_behind_rounding() -> None:
    graph = graph_of(
        "(float[1,2,4,4] x) => (float[1,3,4,4] logits)",
        "c = Conv(x, w) half = Cast<to = 10>(c) rounded = Cast<to = 1>(half) relu = Relu(rounded) "
        "q = QuantizeLinear(relu, s) d = DequantizeLinear(q, s) logits = Conv(d, k)",
        {"w": np.ones((2, 2, 1, 1)), "s": np.array(0.1), "k": np.ones((3, 2, 1, 1))},
    ).model.graph
    found = find_points(named(graph, {"c": "decode_head.folded.2", "logits": "decode_head.classifier"}))
    assert {point.name: value.name for point, value in found.items()} == {
        "stage 3": "rounded",
        "decode head": "relu",
        "logits": "logits",
    }


@pytest.mark.parametrize("module", ["segformer.stages.{}.patch_embeddings", "segformer.encoder.patch_embeddings.{}"])
def test_points_of_a_classifier(module: str) -> None:
    graph = graph_of(
        "(float[1,2,4,4] x) => (float[1,3,1,1] logits)",
        "a = Conv(x, w) n = Relu(a) b = Conv(n, w) m = GlobalAveragePool(b) logits = Conv(m, k)",
        {"w": np.ones((2, 2, 1, 1)), "k": np.ones((3, 2, 1, 1))},
    ).model.graph
    names = {"a": f"{module.format(0)}.proj", "b": f"{module.format(1)}.proj", "logits": "classifier"}
    found = {point.name: value.name for point, value in find_points(named(graph, names)).items()}
    assert found == {"stage 1": "n", "stage 4": "m", "logits": "logits"}


def test_another_graph_is_refused() -> None:
    graph = graph_of("(float[1,2] x) => (float[1,2] y)", "y = Relu(x)", {}).model.graph
    with pytest.raises(ContractError, match="no layer named classifier"):
        find_points(graph)


def test_the_report_never_rounds_to_the_same() -> None:
    near = PointNoise("stage 1", 1 - 1e-9, 1e-4, 87.5)
    found = Explained("a|b", (near, PointNoise("logits", 1.0, 0.0, None)), "most [is] lost", (), (), ("a note",))
    explanation = Explanation("base", 1, (found,))
    console = Console(width=100, record=True)
    for part in report.parts(explanation):
        console.print(part, markup=False)
    text = console.export_text()
    assert "0.999999" in text
    assert "1.000000" in text
    assert "exact" in text
    assert "a|b: most [is] lost" in text
    assert "a|b: a note" in text
    lines = report.markdown(explanation)
    assert "| stage 1 | 0.999999 | 0.0001 | 87.5 |" in lines
    assert r"**a\|b beside base, 1 image**" in lines


def by_point(found: Explained) -> dict[str, PointNoise]:
    return {point.point: point for point in found.points}


@pytest.fixture(scope="module")
def lower(bundle: Bundle, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The bundle in FP16 and INT8 on its engine, and in FP32 and INT8 on OpenVINO."""
    folder = tmp_path_factory.mktemp("lower")
    made = {}
    for name, engine, precision in (
        ("fp16", "onnxruntime", "fp16"),
        ("int8", "onnxruntime", "int8"),
        ("openvino", "openvino", "fp32"),
        ("openvino int8", "openvino", "int8"),
    ):
        calibration = None if precision == "fp32" else ranges
        made[name] = segexport.rebuild(
            bundle, folder / name, engine=engine, precision=precision, calibration=calibration
        )
    return made


@pytest.mark.bundle
@pytest.mark.slow
def test_int8_is_noisier_than_fp16_everywhere(bundle: Bundle, lower: dict[str, Bundle], data: Path) -> None:
    calls: list[tuple[int, int]] = []
    found = explain(
        [lower["int8"], bundle, lower["fp16"], lower["openvino int8"], lower["openvino"]],
        data,
        threads=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert found.baseline == bundle.name, "the first in fp32"
    assert found.images == 3
    assert calls == [(1, 3), (2, 3), (3, 3)]
    int8, fp16, openvino_int8, openvino = found.bundles
    assert [b.name for b in found.bundles] == ["int8", "fp16", "openvino int8", "openvino"]
    for one in found.bundles:
        assert [p.point for p in one.points] == POINTS
        assert one.notes == ()
    for point in POINTS:
        assert by_point(int8)[point].sqnr_db < by_point(fp16)[point].sqnr_db - 6
        assert by_point(int8)[point].cosine < by_point(fp16)[point].cosine < 1
        assert by_point(int8)[point].max_error > by_point(fp16)[point].max_error > 0
        assert by_point(openvino_int8)[point].sqnr_db > 10, "another layout would have 0 dB"
        assert by_point(openvino)[point].sqnr_db > 80, "every form of the graph holds the same numbers here"
    assert openvino.verdict.startswith("rounding alone")
    assert int8.images
    assert int8.images[0].changed >= int8.images[-1].changed > 0
    assert int8.classes[0].iou_change is not None


@pytest.mark.bundle
def test_the_same_bundle_twice_is_exact(bundle: Bundle, data: Path) -> None:
    found = explain([bundle, bundle.folder], data, threads=1, limit=2)
    (one,) = found.bundles
    assert one.name == f"{bundle.name} (2)"
    assert one.points == tuple(PointNoise(point, 1.0, 0.0, None) for point in POINTS)
    assert one.verdict == "equal, number for number, at every point"
    assert one.images == one.classes == ()
    assert found.images == 2


@pytest.mark.bundle
def test_a_layer_that_was_changed_is_found(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tampered"
    shutil.copytree(bundle.folder, folder)
    tampered = Bundle(folder, bundle.manifest)  # not opened: its checksums would tell
    model = ir.load(tampered.engine_graph)
    weight = next(v for n, v in model.graph.initializers.items() if "stages.2" in n and n.endswith("proj.weight"))
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.5), name=weight.name)
    ir.save(model, tampered.engine_graph)
    (found,) = explain([bundle, tampered], data, threads=1).bundles
    points = by_point(found)
    assert points["stage 1"].exact
    assert points["stage 2"].exact
    assert points["stage 3"].sqnr_db < 40
    assert points["logits"].sqnr_db < 60
    assert found.verdict.startswith("most is lost between stage 2 and stage 3 (exact, then ")


@pytest.mark.bundle
def test_without_rewrites(bundle: Bundle, plain: Bundle, data: Path, tmp_path: Path) -> None:
    """Linear layers have numbers of their own: compared among themselves alone."""
    (found,) = explain([bundle, plain], data, threads=1).bundles
    assert [p.point for p in found.points] == ["decode head", "logits"]
    assert all(p.sqnr_db > 80 for p in found.points)
    assert found.notes[0].startswith("stage 1, stage 2, stage 3, stage 4 left out")
    half = segexport.rebuild(plain, tmp_path / "half", engine="onnxruntime", precision="fp16", calibration=data)
    (found,) = explain([plain, half], data, threads=1).bundles
    assert [p.point for p in found.points] == POINTS
    assert all(40 < p.sqnr_db < 80 for p in found.points)
    assert found.notes == ()


@pytest.mark.slow
@pytest.mark.bundle
def test_a_classifier(classifier_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    one = classifier_bundle
    other = segexport.rebuild(one, tmp_path / "ov", engine="openvino")
    half = segexport.rebuild(one, tmp_path / "half", engine="onnxruntime", precision="fp16", calibration=data)
    openvino, fp16 = explain([one, other, half], data, threads=1).bundles
    assert [p.point for p in openvino.points] == ["stage 1", "stage 2", "stage 3", "stage 4", "logits"]
    assert all(p.sqnr_db > 80 for p in openvino.points)
    assert openvino.images == openvino.classes == ()
    assert all(40 < p.sqnr_db < 80 for p in fp16.points)


@pytest.mark.bundle
def test_on_the_command_line(
    bundle: Bundle, lower: dict[str, Bundle], data: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    out, table = tmp_path / "out.json", tmp_path / "out.md"
    run = ("bench", bundle.folder, lower["int8"].folder, "--data", data, "--no-reference", "--threads", 1, "--limit", 2)
    found = run_cli(*run, "--explain", "--json", out, "--markdown", table)
    assert found.code == 0, found.err
    content = json.loads(out.read_text())
    jsonschema.validate(content, read_json("bench.schema.json"))
    explanation = content["explanation"]
    assert explanation["baseline"] == bundle.name
    (int8,) = explanation["bundles"]
    assert [p["point"] for p in int8["points"]] == POINTS
    assert found.out.index("only ratios within one run") < found.out.index(int8["verdict"])
    assert int8["verdict"] in table.read_text()
    row = next(r for r in content["rows"] if r["name"] == "int8")
    label = max(int8["classes"], key=lambda c: abs(c["iou_change"]["value"]))
    before = next(r for r in content["rows"] if r["name"] == bundle.name)["per_class_iou"][label["name"]]
    after = row["per_class_iou"][label["name"]]
    assert label["iou_change"]["value"] == pytest.approx(after - before, abs=2e-3), "as the table has it"
    assert label["name"] in scenes.LABELS
    plain = run_cli(*run, "--json", out)
    assert plain.code == 0
    assert "explanation" not in json.loads(out.read_text())
    assert "SQNR" not in plain.out


@pytest.mark.bundle
def test_what_cannot_be_compared(bundle: Bundle, lower: dict[str, Bundle], data: Path, run_cli: RunCli) -> None:
    for alone in ([bundle], []):
        with pytest.raises(ContractError, match="name two bundles or more"):
            explain(alone, data)
    with pytest.raises(ContractError, match="none of the bundles is in fp32"):
        explain([lower["int8"], lower["fp16"]], data)

    def with_contract(**changed: object) -> Bundle:
        contract = dataclasses.replace(bundle.manifest.contract, **changed)
        return Bundle(bundle.folder, dataclasses.replace(bundle.manifest, contract=contract))

    for other in (with_contract(size=(96, 64)), with_contract(source_size=(64, 64), resize_mode="letterbox")):
        with pytest.raises(ContractError, match="different network sizes"):
            explain([bundle, other], data)
    other_weights = dataclasses.replace(bundle.manifest.source, weights_sha256="0")
    other = Bundle(bundle.folder, dataclasses.replace(bundle.manifest, source=other_weights))
    with pytest.raises(ContractError, match="different weights"):
        explain([bundle, other], data)
    found = run_cli("bench", lower["int8"].folder, lower["fp16"].folder, "--data", data, "--explain")
    assert found.code == 2
    assert found.out == "", "refused before anything is timed"
    assert "none of the bundles is in fp32" in found.err


@pytest.mark.bundle
def test_the_baseline_can_be_named(bundle: Bundle, lower: dict[str, Bundle]) -> None:
    opened, base = open_comparable([bundle, lower["fp16"]], lower["fp16"].folder)
    assert base is opened[1]
    opened, base = open_comparable([bundle], lower["int8"])
    assert [b.folder for b in opened] == [lower["int8"].folder, bundle.folder]
    assert base is opened[0]


@pytest.mark.bundle
def test_camera_images_of_another_size_and_order(bundle: Bundle, checkpoint: Path, data: Path, tmp_path: Path) -> None:
    """How an image gets into the network is each bundle's own; a fixed batch is one image repeated."""
    other = segexport.build(
        checkpoint, tmp_path / "bgr", engine="onnxruntime", size=SIZE, channel_order="bgr", batch=2, output="logits"
    )
    (found,) = explain([bundle, other], data, threads=1, limit=1).bundles
    assert [p.point for p in found.points] == POINTS
    assert all(p.sqnr_db is None or p.sqnr_db > 80 for p in found.points)
    assert found.images == ()
    assert not math.isnan(found.points[0].max_error)
