"""Python 3.10 without PyTorch, on the oldest packages that pyproject.toml promises, and on constraints-3.10.txt."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport.images import read_mask
from tests.support.environments import Environment

ABSENT = ("torch", "transformers", "onnxscript", "datasets")
NAMED = [pytest.param(name, marks=pytest.mark.environment(name)) for name in ("oldest", "python-3.10")]


@pytest.mark.parametrize("environment", NAMED, indirect=True)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_checkpoint_is_built_checked_and_run(
    environment: Environment, engine: str, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    def run(*command: object) -> str:
        return environment.run(*command, folder=tmp_path)

    assert run("python", "-V").startswith("Python 3.10.")
    absent = run("python", "-c", f"from importlib.util import find_spec; print(*map(find_spec, {ABSENT}))")
    assert set(absent.split()) == {"None"}

    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    here = segexport.build(tmp_path / "checkpoint", tmp_path / "here", engine=engine)
    run("segexport", "build", "--model", "checkpoint", "--engine", engine, "--out", "there")
    assert (tmp_path / "there" / "model.onnx").read_bytes() == here.model.read_bytes()
    assert run("segexport", "selftest", "there").startswith("passed")

    photos = sorted((data / "images").iterdir())
    run("segexport", "predict", "there", *photos, "-o", "out")
    with segexport.open(here.folder) as net:
        for photo in photos:
            expected = net.run(photo).mask
            assert len(np.unique(expected)) > 2, "a mask of one class proves nothing"
            found = read_mask(tmp_path / "out" / f"{photo.stem}_mask.png")
            assert np.mean(found == expected) >= 0.9998

    calibrated = ("--precision", "int8", "--calibration", data / "images")
    run("segexport", "build", "--from-bundle", "there", *calibrated, "--out", "int8")
    table = run("segexport", "bench", "there", "int8", "--data", data, "--no-reference")
    assert all(name in table for name in ("there", "int8", "mIoU"))
