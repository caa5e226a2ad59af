"""What bundles are called, and that `segexport build` puts them there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import segexport
from segexport.bundle import MANIFEST, SCHEMA, Bundle, open_bundle
from segexport.naming import default_folder, name_of
from segexport.spec import Contract, Preprocessing
from tests.support.cli import RunCli, assert_refused
from tests.support.manifests import edit_manifest

NAMES = {
    "b0": "b0",
    "nvidia/segformer-b5-finetuned-cityscapes-1024-1024": "b5-cityscapes",
    "nvidia/mit-b2": "mit-b2",
    "someone/segformer-b0.v2": "segformer-b0.v2",
    "runs/street": "street",
    "runs/street/": "street",
    "runs/street/.": "street",
    "runs/epoch.100": "epoch.100",
    "runs/latest": "latest",  # a link keeps its name
    "runs/segformer.b1.512x512.ade.160k.pth": "segformer.b1.512x512.ade.160k",
    "runs/best.pt": "best",
    "runs/model.safetensors": "model",
    "runs/pytorch_model.bin": "pytorch_model",
    "runs/folder.pth": "folder.pth",  # a folder, not a file
}


@pytest.mark.parametrize("model", NAMES)
def test_a_checkpoints_short_name(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("street", "epoch.100", "folder.pth"):
        (tmp_path / "runs" / folder).mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("street")
    assert name_of(model) == NAMES[model]
    if model.startswith("runs"):
        assert name_of(tmp_path / model) == NAMES[model]
        monkeypatch.chdir(tmp_path / "runs")
        assert name_of(Path(model).relative_to("runs")) == NAMES[model]


def test_the_working_directory_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_of(".") == tmp_path.name


@pytest.mark.parametrize(
    ("contract", "precision", "folder"),
    [
        (Contract((512, 512), mask_size=(512, 512)), "fp32", "b0-fp32-openvino"),
        (Contract((512, 512), batch=4, channel_order="bgr", mask_size=(128, 128)), "auto", "b0-auto-openvino"),
        (Contract((360, 480), mask_size=(360, 480)), "fp32", "b0-360x480-fp32-openvino"),
        (Contract((512, 512), mask_size=(512, 512), output="scores"), "int8", "b0-scores-int8-openvino"),
        (Contract((64, 96), mask_size=(16, 24), output="logits"), "fp16", "b0-64x96-logits-fp16-openvino"),
        (Contract((512, 512), output="topk"), "fp32", "b0-fp32-openvino"),
        (Contract((512, 512), output="logits"), "fp32", "b0-logits-fp32-openvino"),
    ],
)
def test_a_default_folder_says_what_is_not_the_default(contract: Contract, precision: str, folder: str) -> None:
    assert default_folder("b0", contract, Preprocessing(), precision, "openvino") == Path("bundles") / folder


@pytest.mark.bundle
def test_build_needs_no_folder(
    checkpoint: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a checkpoint, then of what was built of it, wherever that lies by then."""
    monkeypatch.chdir(tmp_path)
    built = run_cli("build", "--model", checkpoint, "--engine", "onnxruntime")
    assert built.code == 0, built.err
    assert "bundle     bundles/tiny-fp32-onnxruntime (" in built.out
    assert "next       segexport bench tiny\n" in built.out
    assert len(built.out.splitlines()) < 8, "the rest is for --verbose"
    assert_refused(
        run_cli("build", "--model", checkpoint, "--engine", "onnxruntime"),
        r"bundles/tiny-fp32-onnxruntime exists: pass --overwrite to replace it, or another place with --out \(-o\)",
    )
    assert run_cli("build", "--model", checkpoint, "--engine", "onnxruntime", "--overwrite").code == 0
    moved = (tmp_path / "bundles" / "tiny-fp32-onnxruntime").rename(tmp_path / "moved")
    again = run_cli("build", "--from-bundle", moved, "--engine", "onnxruntime", "--precision", "fp16")
    assert again.code == 0, again.err
    assert open_bundle("bundles/tiny-fp16-onnxruntime").manifest.name == "tiny"
    assert "for a GPU" in again.out
    assert "segexport build --from-bundle bundles/tiny-fp16-onnxruntime --engine tensorrt-rtx" in again.out
    assert sorted(path.name for path in Path("bundles").iterdir()) == ["tiny-fp16-onnxruntime"]


@pytest.mark.bundle
def test_python_needs_no_folder_either(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    built = segexport.build(checkpoint, engine="onnxruntime", size=(32, 64), output="scores")
    assert built.folder == Path("bundles/tiny-32x64-scores-fp32-onnxruntime")
    assert segexport.rebuild(built, engine="onnxruntime", precision="fp16").folder.name.startswith("tiny-32x64-scores-")


@pytest.mark.bundle
def test_a_name_is_kept_and_made_for_older_bundles(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    assert json.loads((bundle.folder / MANIFEST).read_text())["name"] == "tiny"

    def older(manifest: dict) -> None:
        assert manifest["schema"] == SCHEMA
        del manifest["name"]
        manifest.update(schema=5)
        manifest["source"]["id"] = "nvidia/segformer-b0-finetuned-ade-512-512"

    edit_manifest(copy, older)
    assert open_bundle(copy).manifest.name == "b0"
