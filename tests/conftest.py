"""What tests share: small checkpoints, bundles built from them, labelled images, and the command line in-process."""

from __future__ import annotations

import json
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
