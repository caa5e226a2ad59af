"""64-bit ARM, emulated: a checkpoint built there without PyTorch is the bundle that x86 builds, with the same masks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport.images import read_mask

pytestmark = pytest.mark.environment

SCRIPT = Path(__file__).parents[1] / "scripts" / "aarch64"
ABSENT = ("torch", "transformers", "onnxscript", "datasets")
PHOTOS = 3


class Device:
    """The emulated system, where commands run in one folder that is the host's too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: object) -> str:
        done = subprocess.run(
            [SCRIPT, "run", *map(str, command)], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, camvid_checkpoint: Path, camvid: Path) -> Device:
    """The system with this checkout's segexport in it, and a folder with the checkpoint and three photos."""
    made = subprocess.run([SCRIPT, "setup"], capture_output=True, text=True, check=False)
    if made.returncode == 2:
        pytest.skip(made.stderr.strip().splitlines()[-1].removeprefix("error: "))
    assert made.returncode == 0, made.stderr
    folder = tmp_path_factory.mktemp("aarch64")
    shutil.copytree(camvid_checkpoint, folder / "checkpoint")
    (folder / "photos").mkdir()
    for photo in sorted((camvid / "test" / "images").iterdir())[:PHOTOS]:
        shutil.copy(photo, folder / "photos")
    return Device(folder)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_checkpoint_built_there_without_pytorch(device: Device, engine: str) -> None:
    folder = device.folder
    assert device.run("uname", "-m").strip() == "aarch64"
    absent = device.run("python", "-c", f"from importlib.util import find_spec; print(*map(find_spec, {ABSENT}))")
    assert set(absent.split()) == {"None"}

    here, there = folder / f"{engine}-x86", folder / engine
    # By the same path as there: the graph records it.
    segexport.build(folder / "checkpoint", here, engine=engine, size=(360, 480))
    device.run("segexport", "build", "--model", "checkpoint", "--engine", engine, "--size", "360x480", "--out", engine)
    for name in ("model.onnx", "golden/image.png", "golden/reference.png"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert device.run("segexport", "selftest", engine).startswith("passed")

    photos = sorted((folder / "photos").iterdir())
    device.run("segexport", "predict", engine, *(photo.relative_to(folder) for photo in photos), "-o", f"{engine}-out")
    with segexport.open(here) as net:
        for photo in photos:
            expected = net.run(photo).mask
            assert len(np.unique(expected)) > 2, "a mask of one class proves nothing"
            found = read_mask(folder / f"{engine}-out" / f"{photo.stem}_mask.png")
            np.testing.assert_array_equal(found, expected)
