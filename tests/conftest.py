"""What tests share: small checkpoints, bundles built from them, labelled images, and the command line in-process."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from segexport import cli, scenes
from segexport.bundle import Bundle

settings.register_profile("segexport", deadline=None)  # a first call imports torch: seconds, and no defect
settings.load_profile("segexport")

SHARED = Path(__file__).parents[2] / "shared"
SIZE = (64, 96)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


RunCli = Callable[..., Outcome]

TENSORRT = "tensorrt-rtx-cu13==1.7.1.116"
COMPILE = Path(__file__).with_name("compile_with_tensorrt.py")


@dataclass(frozen=True)
class Plan:
    """What TensorRT's parser and builder made of an ONNX file."""

    parsed: bool
    errors: list[str]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    size: int | None
    seconds: float


Compile = Callable[[Path], Plan]


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """Call the command line's entry point; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["segexport", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        with warnings.catch_warnings():
            try:
                cli.main()
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def save_checkpoint(folder: Path, *, classes: int = len(scenes.LABELS), kind: str = "segmentation", **config) -> Path:
    """A small SegFormer with random weights in Hugging Face layout, whose masks show many classes."""
    import torch
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

    names = scenes.LABELS if classes == len(scenes.LABELS) else [f"class {i}" for i in range(classes)]
    settings = SegformerConfig(
        **{
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 24, 32],
            "num_attention_heads": [1, 2, 3, 4],
            "decoder_hidden_size": 16,
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
            **config,
        }
    )
    torch.manual_seed(0)
    model_class = SegformerForSemanticSegmentation if kind == "segmentation" else SegformerForImageClassification
    model = model_class(settings)
    spread_weights(model)
    model.save_pretrained(folder)
    processor = {"image_processor_type": "SegformerImageProcessor", "size": {"height": SIZE[0], "width": SIZE[1]}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def spread_weights(model) -> None:
    """Random weights large enough to matter, and BatchNorm statistics moved by a few training-mode passes."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.train()
        for _ in range(3):
            model(pixel_values=torch.randn(2, 3, 64, 64))
    model.eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation checkpoint, labels as the generated scenes', random weights that were saved as if trained."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image classification checkpoint of 300 classes, more than a mask could hold."""
    return save_checkpoint(tmp_path_factory.mktemp("classifier") / "tiny", classes=300, kind="classification")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The checkpoint built for ONNX Runtime at 64x96. Read-only: copy it before changing anything."""
    import segexport

    return segexport.build(checkpoint, tmp_path_factory.mktemp("bundle") / "tiny", engine="onnxruntime", size=SIZE)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled scenes of the bundle's size: images/ and masks/."""
    return scenes.write_dataset(tmp_path_factory.mktemp("data") / "scenes", 3, seed=scenes.VALIDATION_SEED, size=SIZE)


@pytest.fixture(scope="session")
def compile_with_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """TensorRT for RTX parses and compiles without a GPU; installed aside, since it is large, and run aside."""
    packages = tmp_path_factory.mktemp("tensorrt")
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(packages)]
    done = subprocess.run([*install, TENSORRT], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot get {TENSORRT}: {done.stderr.strip().splitlines()[-1]}")

    def compile_(model: Path) -> Plan:
        done = subprocess.run(
            [sys.executable, str(COMPILE), str(model)],
            env={"PYTHONPATH": str(packages), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout.splitlines()[-1])
        outputs = {name: (dtype, tuple(shape)) for name, dtype, shape in found.pop("outputs")}
        return Plan(**found, outputs=outputs)

    return compile_


@pytest.fixture(scope="session")
def camvid() -> Path:
    """Real street images with masks, which are not part of the project."""
    return _shared("camvid")


@pytest.fixture(scope="session")
def camvid_checkpoint() -> Path:
    """A really trained SegFormer B0, which is not part of the project."""
    return _shared("checkpoints/segformer-b0-camvid")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} beside the checkout, which is non-commercial and not part of the project")
    return path
