"""The commands, end to end in this process: what they print and what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from tests.conftest import SIZE, RunCli
from tests.support.checkpoints import write_checkpoint


@pytest.mark.bundle
def test_build_selftest_predict(checkpoint: Path, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "bundle"
    arguments = ("--model", checkpoint, "--engine", "auto", "--precision", "fp32", "--size", "64x96", "--out", out)
    built = run_cli("build", *arguments)
    assert built.code == 0, built.err
    for says in (
        "openvino",
        "the fastest installed here",
        "uint8 [1, 64, 96, 3] RGB",
        "fold-decode-head",
        "MB at peak",
    ):
        assert says in built.out
    assert {p.name for p in out.iterdir()} == {"model.onnx", "engine.onnx", "segexport.json", "SHA256SUMS", "golden"}
    assert run_cli("selftest", out).out.startswith("passed: 100.0000%")

    picture = tmp_path / "street.jpg"
    Image.fromarray(scenes.scene(4, (120, 160))[0]).save(picture)
    predicted = run_cli("predict", out, picture, "-o", tmp_path / "out")
    assert predicted.code == 0, predicted.err
    with Image.open(tmp_path / "out" / "street_mask.png") as mask, segexport.open(out) as net:
        assert (mask.mode, mask.size) == ("P", (160, 120)), "class ids with a palette, in the image's own size"
        np.testing.assert_array_equal(np.asarray(mask), net.run(picture).mask)
    with Image.open(tmp_path / "out" / "street_overlay.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (160, 120))


@pytest.mark.bundle
def test_overwrite_and_from_bundle(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "copy"
    assert run_cli("build", "--from-bundle", bundle.folder, "--engine", "onnxruntime", "--out", out).code == 0
    again = ("build", "--from-bundle", bundle.folder, "--engine", "openvino", "--out", out)
    assert run_cli(*again).code == 2
    assert segexport.open(out).bundle.manifest.engine.name == "onnxruntime"
    assert run_cli(*again, "--overwrite").code == 0
    assert segexport.open(out).bundle.manifest.engine.name == "openvino"
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    assert (out / "model.onnx").read_bytes() == bundle.model.read_bytes()


@pytest.mark.bundle
def test_a_classifier_writes_its_best_classes(classifier: Path, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "classifier"
    built = run_cli("build", "-m", classifier, "--engine", "onnxruntime", "-o", out)
    assert built.code == 0, built.err
    Image.fromarray(scenes.scene(4, SIZE)[0]).save(tmp_path / "a.png")
    assert run_cli("predict", out, tmp_path / "a.png", "-o", tmp_path).code == 0
    rows = json.loads((tmp_path / "a_classes.json").read_text())
    assert len(rows) == 5
    assert rows[0]["name"] == f"class {rows[0]['id']}"
    assert rows[0]["score"] >= rows[1]["score"] > 0


def test_engines_lists_every_engine(run_cli: RunCli) -> None:
    found = run_cli("engines")
    assert found.code == 0
    for name in ("onnxruntime", "openvino", "pytorch"):
        assert name in found.out


def test_help_and_version(run_cli: RunCli) -> None:
    assert run_cli("--version").out.strip() == segexport.__version__
    listed = run_cli("--help").out
    for command in ("build", "bench", "predict", "selftest", "inspect", "engines", "demo"):
        assert command in listed


@pytest.mark.bundle
def test_an_image_that_is_not_rgb_warns_once(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    for name in ("a", "b"):
        Image.fromarray(scenes.scene(4, SIZE)[0]).convert("L").save(tmp_path / f"{name}.png")
    found = run_cli("predict", bundle.folder, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert found.code == 0, found.err
    assert found.err.count("warning:") == 1


def test_debug_shows_where_an_error_came_from(tmp_path: Path, run_cli: RunCli) -> None:
    with pytest.raises(segexport.errors.BundleCorrupt):
        run_cli("--debug", "selftest", tmp_path)


def test_the_core_imports_without_torch() -> None:
    """Every module but the trainer's and PyTorch's own is read without torch, transformers or an engine."""
    script = """
import sys
for name in ("torch", "transformers", "onnxruntime", "openvino", "datasets", "onnxscript"):
    sys.modules[name] = None
import importlib, pkgutil
import segexport
for module in pkgutil.walk_packages(segexport.__path__, "segexport."):
    importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "no/such/folder"),
        ("--model", "CHECKPOINT", "--size", "31x64"),
        ("--model", "CHECKPOINT", "--size", "wide"),
        ("--model", "CHECKPOINT", "--output", "topk"),
        ("--model", "CHECKPOINT", "--precision", "int8"),
        ("--model", "CHECKPOINT", "--ignore-unused", "nothing"),
        ("--model", "CHECKPOINT", "--engine", "onnxruntime-cuda"),
        ("--model", "b9/b9/b9"),
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_nothing_heavy_is_imported_for_what_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """What the command line and the checkpoint's own files tell costs no engine and no graph library."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    engine = () if "--engine" in arguments else ("--engine", "onnxruntime")
    told = [str(folder) if one == "CHECKPOINT" else one for one in arguments]
    script = """
import sys
from segexport import cli
try:
    cli.main()
except SystemExit as exit_:
    heavy = {"onnx", "onnx_ir", "onnxruntime", "openvino", "tensorrt_rtx", "torch", "transformers"} & set(sys.modules)
    print(exit_.code, sorted(heavy))
"""
    command = [sys.executable, "-c", script, "build", *told, *engine, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2 []\n", done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()
