"""The benchmark: what it measures, what it compares, and what it says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bench.contender import open_reference_call
from segexport.bench.result import Result, percentiles
from segexport.bench.scoring import Contender, rows, score
from segexport.bundle import Bundle
from segexport.data import read_json
from segexport.datasets import Sample
from segexport.evaluation.bootstrap import ImageCounts
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.images import read_image, read_mask
from segexport.report import table
from segexport.spec import Contract, to_json
from tests.support.checkpoints import SIZE
from tests.support.cli import RunCli


@pytest.mark.bundle
def test_a_run_on_the_command_line(bundle: Bundle, data: Path, tmp_path: Path, run_cli: RunCli) -> None:
    rebuilt = segexport.rebuild(bundle, tmp_path / "ov", engine="openvino")
    out = tmp_path / "out.json"
    found = run_cli("bench", bundle.folder, rebuilt.folder, "--data", data, "--json", out, "--threads", 1)
    assert found.code == 0, found.err
    content = json.loads(out.read_text())
    jsonschema.validate(content, read_json("bench.schema.json"))
    assert [row["engine"] for row in content["rows"]] == ["pytorch", "onnxruntime", "openvino"]
    assert content["data"]["images"] == 3
    assert content["machine"]["threads"] == 1
    reference, *rows = content["rows"]
    assert reference["agreement"] is None
    for row in rows:
        assert row["agreement"] >= 0.9998
        assert row["miou"] == pytest.approx(reference["miou"], abs=5e-4)
        assert row["latency_ms"]["p50"] >= row["network_ms"]["p50"] > 0
        assert row["peak_memory_bytes"] > 30e6
        assert row["verdict"] in found.out
        assert (row["batch"], row["calls"], row["agreement_with"]) == (1, 20, "pytorch")
        (beside,) = row["comparisons"]
        assert beside["against"] == "pytorch"
        assert beside["agreement"] == row["agreement"]
        assert beside["miou_change"]["value"] == row["miou"] - reference["miou"]
        assert beside["speedup"]["low"] <= beside["speedup"]["value"] <= beside["speedup"]["high"]
        assert row["miou_interval"]["low"] <= row["miou_interval"]["value"] == row["miou"]
        assert "use this" not in row["verdict"], "one precision: nothing to choose"
    assert reference["comparisons"] == []
    assert "Pole" in found.out or "pole" in found.out


@pytest.mark.bundle
def test_scores_are_those_of_the_masks(bundle: Bundle, data: Path) -> None:
    """The whole chain of processes gives the figures that three lines give by hand."""
    result = segexport.benchmark([bundle], data, use_reference=False)
    matrix = ConfusionMatrix(len(scenes.LABELS))
    with segexport.open(bundle) as net:
        for path in sorted((data / "images").iterdir()):
            mask = read_mask(data / "masks" / f"{path.stem}.png").astype(np.uint8)
            matrix.update(mask, net.run(read_image(path)).mask)
    (row,) = result.rows
    assert row.miou == matrix.miou()
    assert row.pixel_accuracy == matrix.pixel_accuracy()
    assert row.agreement is None
    assert row.verdict.startswith("no reference to compare with")
    assert result.reference is None
    assert result.notes == (), "with masks, and without PyTorch because that was asked for"


@pytest.mark.bundle
@pytest.mark.slow
def test_images_of_another_size_are_said_to_be_resized(bundle: Bundle, tmp_path: Path) -> None:
    data = scenes.write_dataset(tmp_path / "data", 2, seed=scenes.VALIDATION_SEED, size=(80, 120))
    result = segexport.benchmark([bundle], data, limit=2)
    reference, row = result.rows
    assert row.notes == ("images of 80x120 resized by Pillow to 64x96, their class maps by nearest neighbour",)
    assert reference.notes == ("images of 80x120 resized by Pillow to 64x96",)
    assert row.agreement > 0.9, "nearest behind is not exact, but close"
    assert reference.miou is not None


@pytest.mark.bundle
def test_a_reference_of_pickled_weights_has_their_size(checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    torch.save(load_file(checkpoint / "model.safetensors"), tmp_path / "pytorch_model.bin")
    loaded = segexport.load(tmp_path)
    opened = open_reference_call(to_json(loaded.source), to_json(Contract(SIZE, mask_size=SIZE)), None, None)
    assert opened.facts["size_bytes"] == (tmp_path / "pytorch_model.bin").stat().st_size


@pytest.mark.slow
@pytest.mark.bundle
def test_random_weights_get_no_miou(data: Path, tmp_path: Path) -> None:
    bundle = segexport.build("b0", tmp_path / "random", size=SIZE, engine="onnxruntime", random_init=True)
    assert any("random weights" in note for note in bundle.manifest.notes)
    (tmp_path / "plain" / "images").mkdir(parents=True)
    for path in (data / "images").iterdir():
        (tmp_path / "plain" / "images" / path.name).write_bytes(path.read_bytes())
    result = segexport.benchmark([bundle], tmp_path / "plain", limit=1)
    assert result.random_weights
    assert all(row.miou is None and row.per_class_iou is None for row in result.rows)
    assert "random weights" in result.rows[1].verdict
    assert result.rows[1].agreement > 0.99


@pytest.mark.bundle
@pytest.mark.slow
def test_a_classifier_is_compared_by_its_best_class(classifier: Path, data: Path, tmp_path: Path) -> None:
    bundle = segexport.build(classifier, tmp_path / "classifier", engine="onnxruntime", size=SIZE)
    result = segexport.benchmark([bundle], data)
    assert result.rows[1].agreement == 1.0
    assert result.rows[1].miou is None
    assert "100 % of images agree" in result.rows[1].verdict or "sees what PyTorch sees" in result.rows[1].verdict


@pytest.mark.bundle
@pytest.mark.slow
def test_the_real_figures(camvid: Path, camvid_checkpoint: Path, tmp_path: Path) -> None:
    """Accuracy as promised with really trained weights on real images; speed is `segexport bench`'s business."""
    bundle = segexport.build(camvid_checkpoint, tmp_path / "ort", engine="onnxruntime", size=(360, 480))
    rebuilt = segexport.rebuild(bundle, tmp_path / "ov", engine="openvino")
    result = segexport.benchmark([bundle, rebuilt], camvid / "val")
    reference, *rows = result.rows
    assert reference.miou == pytest.approx(0.5888, abs=5e-4), "the level the checkpoint was published with"
    for row in rows:
        assert abs(row.miou - reference.miou) <= 0.0005
        assert row.agreement >= 0.9998
        assert row.verdict.startswith("sees what PyTorch sees")


LABELS = 3


def contender(name: str, precision: str, seconds: float, size: tuple[int, int] = SIZE, **fields) -> Contender:
    """A contender without a process, that has made twenty calls."""
    made = Contender(name, precision, size, size, None, ImageCounts(LABELS), **fields)
    made.facts = {"engine": name.split()[0], "version": "1", "size_bytes": 1}
    made.whole = list(seconds * np.linspace(0.95, 1.05, 20))
    made.network = made.whole
    return made


def scored(bundle: Bundle, contenders: list[Contender], wrong: dict[str, int], images: int = 12) -> Result:
    """The result of contenders of which each has so many wrong pixels of class 1 in every image."""
    truth = np.zeros((4, 16), np.uint8)
    truth[1], truth[2] = 1, 2
    for index in range(images):
        decisions = {}
        for one in contenders:
            found = truth.copy()
            found[1, : wrong[one.name] + index % 2 * (wrong[one.name] > 0)] = 0
            decisions[one.name] = found
        score(contenders, decisions, Sample(str(index), np.zeros((*SIZE, 3), np.uint8), truth))
    labels = dataclasses.replace(bundle.manifest.labels, names=("Road", "Pole", "Car"), palette=((0, 0, 0),) * LABELS)
    manifest = dataclasses.replace(bundle.manifest, labels=labels)
    facts = {"processor": "p", "architecture": "a", "cores": 2, "system": "s", "versions": {}, "threads": 1}
    data = {"path": "d", "images": images, "sha256": "0" * 64}
    machine = {**facts, "others_share": None}
    return Result(machine, data, "checkpoint", False, rows(contenders, manifest))


@pytest.mark.bundle
def test_bundles_are_compared_with_pytorch_and_with_higher_precisions(bundle: Bundle) -> None:
    contenders = [
        contender("pytorch", "fp32", 0.1),
        contender("ov int8", "int8", 0.005, reference="pytorch"),
        contender("ov fp32", "fp32", 0.02, reference="pytorch"),
        contender("ov fp16", "fp16", 0.01, reference="pytorch"),
        contender("ort bf16", "bf16", 0.04, reference="pytorch"),
        contender("small int8", "int8", 0.001, (32, 48)),
    ]
    wrong = {"pytorch": 0, "ov int8": 12, "ov fp32": 0, "ov fp16": 1, "ort bf16": 1, "small int8": 12}
    result = scored(bundle, contenders, wrong)
    content = result.to_json()
    jsonschema.validate(json.loads(json.dumps(content, allow_nan=False)), read_json("bench.schema.json"))
    found = {row.name: row for row in result.rows}
    against = {name: [c.against for c in row.comparisons] for name, row in found.items()}
    assert against == {
        "pytorch": [],
        "ov int8": ["pytorch", "ov fp32", "ov fp16", "ort bf16"],
        "ov fp32": ["pytorch"],
        "ov fp16": ["pytorch", "ov fp32"],
        "ort bf16": ["pytorch", "ov fp32"],
        "small int8": ["ov fp32", "ov fp16", "ort bf16"],
    }
    int8 = {c.against: c for c in found["ov int8"].comparisons}
    assert int8["ov fp32"].lost_classes == ("Pole",)
    assert int8["ov fp32"].speedup.value == pytest.approx(4.0)
    assert int8["ov fp32"].miou_change.value == found["ov int8"].miou - found["ov fp32"].miou
    assert int8["ov fp32"].agreement == pytest.approx(1 - 12.5 / 64), "12 and 13 pixels in turn"
    assert int8["ov fp16"].agreement == pytest.approx(1 - 11 / 64)
    assert found["ov int8"].agreement == int8["pytorch"].agreement
    assert all(c.agreement is None for c in found["small int8"].comparisons), "of another network size"
    assert found["small int8"].agreement is None
    assert "class Pole lost: do not use" in found["ov int8"].verdict
    assert found["ov fp32"].verdict == "use this at this size: sees what PyTorch sees, 5.0x as fast as PyTorch"
    assert "slower than ov fp32 (fp32 on ov): do not" in found["ort bf16"].verdict

    text = table.markdown(result)
    assert "| ov int8 | ov fp32 | 4.00 (4.00 to 4.00) |" in text
    assert "| Pole |" in text
    assert "| ov fp32 | pytorch |" not in text, "that is in the table above"


@pytest.mark.bundle
def test_one_image_has_no_interval_in_the_json(bundle: Bundle) -> None:
    contenders = [contender("ov fp32", "fp32", 0.02), contender("ov fp16", "fp16", 0.01)]
    result = scored(bundle, contenders, {"ov fp32": 0, "ov fp16": 1}, images=1)
    row = result.to_json()["rows"][1]
    jsonschema.validate(result.to_json(), read_json("bench.schema.json"))
    assert row["miou_interval"] == {"value": row["miou"], "low": None, "high": None}
    assert row["comparisons"][0]["miou_change"]["low"] is None
    assert "one image: no interval" in row["verdict"]


@pytest.mark.bundle
def test_a_round_that_was_cut_short_is_compared_by_the_calls_that_both_made(bundle: Bundle) -> None:
    """In the last round fp32 was called and fp16 was not; int8 was never called."""
    fp32, fp16 = contender("ov fp32", "fp32", 0.02), contender("ov fp16", "fp16", 0.01, reference="ov fp32")
    int8 = contender("ov int8", "int8", 0.005, reference="ov fp32")
    fp32.whole = [0.02, 0.02, 0.9]
    fp16.whole = [0.01, 0.01]
    int8.whole = []
    first, second = rows([fp32, fp16, int8], bundle.manifest)
    assert (first.calls, second.calls) == (3, 2)
    (beside,) = second.comparisons
    assert beside.speedup.value == pytest.approx(2.0)
    assert second.agreement_with is None, "nothing was scored"
    assert second.miou is None


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001] * 50 + [0.002] * 50) == {"p50": 1.5, "p90": 2.0, "p99": 2.0}
