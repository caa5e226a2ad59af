"""The README's first command, shortened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from segexport import scenes
from segexport.demo import SIZE
from segexport.demo import train as train_demo
from tests.support.cli import RunCli
from tests.support.training import write_scenes


@pytest.mark.slow
def test_the_demo(tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "demo"
    found = run_cli("demo", "--out", out, "--seconds", 20)
    assert found.code == 0, found.err
    rows = {row["engine"]: row for row in json.loads((out / "bench.json").read_text())["rows"]}
    assert set(rows) == {"pytorch", "onnxruntime", "openvino"}
    for row in rows.values():
        # Twenty seconds teach sky from road; one class everywhere would score below 0.06.
        assert row["miou"] > 0.1
        assert row["per_class_iou"].keys() == set(scenes.LABELS)
    assert rows["openvino"]["agreement"] >= 0.9998
    with Image.open(out / "picture.png") as picture:
        assert picture.size == (3 * SIZE[1], SIZE[0])
    assert run_cli("demo", "--out", out, "--seconds", 20).code == 2, "an earlier demo is not overwritten unasked"
    # The bundles still know their checkpoint, so the user can go on from here.
    again = run_cli("bench", out / "bundles" / "openvino", "--data", out / "data" / "val", "--limit", 2)
    assert again.code == 0, again.err


def test_the_demo_replaces_only_its_own_folder(tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    found = run_cli("demo", "--out", tmp_path, "--overwrite")
    assert found.code == 2
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.bundle
@pytest.mark.slow
def test_training_saves_a_checkpoint_that_loads_everywhere(tmp_path: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    import segexport

    seen: list[str] = []
    trained = train_demo(write_scenes(tmp_path / "data"), tmp_path / "ck", 6, seen.append)
    assert any("training on scenes: 100%" in step for step in seen)
    assert trained.score is not None
    loaded = segexport.load(tmp_path / "ck")
    assert loaded.labels.names == scenes.LABELS
    assert loaded.labels.palette == scenes.PALETTE
    assert loaded.default_size == (64, 96)
    assert not SegformerForSemanticSegmentation.from_pretrained(tmp_path / "ck").training
