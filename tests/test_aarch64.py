"""64-bit ARM, emulated: a checkpoint built there without PyTorch is the bundle that x86 builds, with the same masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport.images import read_mask
from tests.support.environments import Environment

pytestmark = pytest.mark.environment("aarch64")

ABSENT = ("torch", "transformers", "onnxscript", "datasets")
PHOTOS = 3


@pytest.fixture
def folder(tmp_path: Path, camvid_checkpoint: Path, camvid: Path) -> Path:
    """A folder with the checkpoint and three photos, which is the same there."""
    shutil.copytree(camvid_checkpoint, tmp_path / "checkpoint")
    (tmp_path / "photos").mkdir()
    for photo in sorted((camvid / "test" / "images").iterdir())[:PHOTOS]:
        shutil.copy(photo, tmp_path / "photos")
    return tmp_path


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_checkpoint_built_there_without_pytorch(environment: Environment, folder: Path, engine: str) -> None:
    def run(*command: object) -> str:
        return environment.run(*command, folder=folder)

    assert run("uname", "-m").strip() == "aarch64"
    absent = run("python", "-c", f"from importlib.util import find_spec; print(*map(find_spec, {ABSENT}))")
    assert set(absent.split()) == {"None"}

    here, there = folder / f"{engine}-x86", folder / engine
    # By the same path as there: the graph records it.
    segexport.build(folder / "checkpoint", here, engine=engine, size=(360, 480))
    run("segexport", "build", "--model", "checkpoint", "--engine", engine, "--size", "360x480", "--out", engine)
    for name in ("model.onnx", "golden/image.png", "golden/reference.png"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert run("segexport", "selftest", engine).startswith("passed")

    photos = sorted((folder / "photos").iterdir())
    run("segexport", "predict", engine, *(photo.relative_to(folder) for photo in photos), "-o", f"{engine}-out")
    with segexport.open(here) as net:
        for photo in photos:
            expected = net.run(photo).mask
            assert len(np.unique(expected)) > 2, "a mask of one class proves nothing"
            found = read_mask(folder / f"{engine}-out" / f"{photo.stem}_mask.png")
            np.testing.assert_array_equal(found, expected)
