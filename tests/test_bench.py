"""The benchmark: what it measures, what it compares, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bench.contender import open_reference_call
from segexport.bench.result import percentiles
from segexport.bench.verdict import verdict
from segexport.bundle import Bundle
from segexport.data import read_json
from segexport.evaluate.metrics import ConfusionMatrix
from segexport.images import read_image, read_mask
from segexport.spec import Contract, to_json
from tests.conftest import SIZE, RunCli


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
    assert row.verdict == "no reference to compare with"
    assert result.reference is None


@pytest.mark.bundle
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
    _, facts = open_reference_call(to_json(loaded.source), to_json(Contract(SIZE, mask_size=SIZE)), None, None)
    assert facts["size_bytes"] == (tmp_path / "pytorch_model.bin").stat().st_size


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
def test_a_classifier_is_compared_by_its_best_class(classifier: Path, data: Path, tmp_path: Path) -> None:
    bundle = segexport.build(classifier, tmp_path / "classifier", engine="onnxruntime", size=SIZE)
    result = segexport.benchmark([bundle], data)
    assert result.rows[1].agreement == 1.0
    assert result.rows[1].miou is None
    assert "100 % of images agree" in result.rows[1].verdict or "sees what PyTorch sees" in result.rows[1].verdict


@pytest.mark.bundle
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


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"speedup": 4.0, "miou_change": 0.0, "agreement": 1.0}, "sees what PyTorch sees, 4.0x as fast as PyTorch"),
        ({"speedup": 4.0, "miou_change": -0.031, "agreement": 0.97}, "do not use"),
        ({"speedup": 4.0, "miou_change": -0.003, "agreement": 0.995}, "close to PyTorch (mIoU -0.30 points"),
        ({"speedup": 0.8, "miou_change": 0.0, "agreement": 1.0}, "slower than PyTorch (0.80x): do not use"),
        ({"speedup": None, "miou_change": None, "agreement": None}, "no reference"),
    ],
)
def test_verdicts(figures: dict[str, float | None], says: str) -> None:
    assert says in verdict(**figures, random_weights=False)


def test_nearly_all_pixels_are_not_all() -> None:
    text = verdict(speedup=2.0, miou_change=-0.002, agreement=0.9999999, random_weights=False)
    assert "100 %" not in text
    assert "99.999 %" in text


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([0.001] * 50 + [0.002] * 50) == {"p50": 1.5, "p90": 2.0, "p99": 2.0}
