"""What tests share: small checkpoints, bundles built from them, labelled images, and the command line in-process."""

from __future__ import annotations

import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest

import segexport
from segexport import cli, scenes
from segexport.bundle import Bundle
from segexport.graph.graph import open_graph
from segexport.precision.ranges import Ranges, read_ranges
from tests.support.checkpoints import SIZE, save_checkpoint
from tests.support.cli import Outcome, RunCli
from tests.support.once import built_once, made_once
from tests.support.properties import register_profiles

pytest_plugins = ("tests.support.environments",)

register_profiles()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared"


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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmentation checkpoint, labels as the generated scenes', random weights that were saved as if trained."""
    return made_once(tmp_path_factory, "checkpoint/tiny", save_checkpoint)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image classification checkpoint of 300 classes, more than a mask could hold."""
    save = partial(save_checkpoint, classes=300, kind="classification")
    return made_once(tmp_path_factory, "classifier/tiny", save)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The checkpoint built for ONNX Runtime at 64x96. Read-only, as all below: copy it before changing anything."""
    return built_once(tmp_path_factory, "bundle/tiny", checkpoint, engine="onnxruntime", size=SIZE)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The small bundle as it was exported, nothing rewritten."""
    return built_once(tmp_path_factory, "bundle/plain", checkpoint, engine="onnxruntime", size=SIZE, rewrites=False)


@pytest.fixture(scope="session")
def openvino_bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The checkpoint built for OpenVINO at 64x96."""
    pytest.importorskip("openvino", reason='openvino is not installed: pip install "segexport[openvino]"')
    return built_once(tmp_path_factory, "openvino/tiny", checkpoint, engine="openvino", size=SIZE)


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory, classifier: Path) -> Bundle:
    """The classifier built for ONNX Runtime at 64x96."""
    return built_once(tmp_path_factory, "bundle/classifier", classifier, engine="onnxruntime", size=SIZE)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled scenes of the bundle's size: images/ and masks/."""
    write = partial(scenes.write_dataset, count=3, seed=scenes.VALIDATION_SEED, size=SIZE)
    return made_once(tmp_path_factory, "data/scenes", write)


@pytest.fixture(scope="session")
def ranges(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, data: Path) -> Ranges:
    """The ranges of the small bundle's graph on the three scenes."""

    def calibrate(path: Path) -> None:
        segexport.calibrate(open_graph(bundle.model), data).save(path)

    return read_ranges(made_once(tmp_path_factory, "ranges/calibration.json", calibrate))


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
