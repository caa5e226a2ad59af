"""The README's first command, shortened, and the oldest transformers that is supported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from segexport import scenes
from segexport.demo import SIZE
from segexport.demo import train as train_demo
from tests.conftest import RunCli
from tests.finetuning.small import write_architecture, write_scenes

OLD_TRANSFORMERS = ("transformers==4.57.6", "huggingface-hub==0.36.0", "tokenizers==0.22.1", "datasets==4.0.0")


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


@pytest.mark.slow
def test_the_oldest_transformers(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    """transformers 4.57 traces another module tree and has another Trainer: what holds with 5 holds there too."""
    scenes_folder, architecture = write_scenes(tmp_path / "scenes"), write_architecture(tmp_path / "architecture")
    packages = tmp_path / "old"
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--target", str(packages), *OLD_TRANSFORMERS], check=True)
    # Its hub client wants requests, which brings what the newer one does without.
    subprocess.run([*install[:-1], "--target", str(packages), "requests"], check=True)
    script = f"""
from pathlib import Path
import transformers, segexport
assert transformers.__version__.startswith("4.57"), transformers.__version__
bundle = segexport.build({str(checkpoint)!r}, {str(tmp_path / "bundle")!r}, engine="onnxruntime", size=(64, 96))
assert bundle.manifest.rewrites[0].rewritten, bundle.manifest.rewrites
from segexport.inspection import inspect_file
stages = {{s.name: s.multiply_accumulates for s in inspect_file(bundle.model).stages}}
assert all(stages[name] for name in ("stage 1", "stage 2", "stage 3", "stage 4", "decode head")), stages
assert not stages.get("other"), stages
result = segexport.benchmark([bundle], {str(data)!r})
from tests.finetuning.test_training import Stop, python, stop_at, weights
folders = [Path({str(tmp_path)!r}) / name for name in ("unbroken", "interrupted")]
python({str(scenes_folder)!r}, {str(architecture)!r}, folders[0])
try:
    python({str(scenes_folder)!r}, {str(architecture)!r}, folders[1], told=stop_at(7))
except Stop:
    python({str(scenes_folder)!r}, {str(architecture)!r}, folders[1], resume=True)
assert weights(folders[0]) == weights(folders[1])
print(result.rows[1].agreement, result.rows[1].miou - result.rows[0].miou)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{packages}:{Path(__file__).parents[1]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    agreement, change = map(float, done.stdout.split())
    assert agreement >= 0.9998
    assert abs(change) <= 0.0005
