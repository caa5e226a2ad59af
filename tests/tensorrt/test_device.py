"""What is missing, said precisely: with the driver that is not here, and with a libcuda that says what it is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segexport.errors import EngineUnavailable
from segexport.tensorrt import device
from segexport.tensorrt.device import Gpu, gpu_named, gpus, missing, older_driver, why_none

SOURCE = Path(__file__).with_name("libcuda.c")
ASK = """
import json
from segexport.tensorrt import device
found = [[g.index, g.name, list(g.compute_capability), g.memory_bytes, g.device, str(g)] for g in device.gpus()]
print(json.dumps([found, device.why_none(), device.missing()]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that libcuda."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler (gcc) to make a libcuda with")
    folder = tmp_path_factory.mktemp("driver")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "libcuda.so.1", SOURCE], check=True)
    return folder


def ask(libraries: Path, **told: str) -> tuple[list, str, str]:
    """What a process finds whose driver is in `libraries`."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run([sys.executable, "-c", ASK], env={**env, **told}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def test_there_is_a_gpu_or_a_reason() -> None:
    assert bool(gpus()) != bool(why_none())
    if why_none():
        assert missing() == why_none()
        assert "\n" not in why_none()


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")
def test_without_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not why_none().startswith("no NVIDIA driver"):
        pytest.skip(f"there is a driver here: {why_none()}")
    start = "no NVIDIA driver (libcuda.so.1: cannot open shared object file"
    assert why_none().startswith(start)
    assert why_none().endswith("install one from https://www.nvidia.com/drivers; start a container with --gpus all")
    with pytest.raises(EngineUnavailable, match=r"^tensorrt needs an NVIDIA GPU: no NVIDIA driver \(libcuda.so.1"):
        gpu_named(None, "tensorrt")
    (tmp_path / "nv_tegra_release").touch()
    monkeypatch.setattr(device, "_JETSON", tmp_path / "nv_tegra_release")
    assert why_none().startswith(start)
    assert why_none().endswith("sudo apt install nvidia-jetpack); start a container with --runtime nvidia")


def test_the_gpus_of_a_driver(told: Path) -> None:
    found, none, _ = ask(told)
    assert none == ""
    assert found == [
        [0, "NVIDIA One", [8, 6], 1 << 33, "cuda:0", "NVIDIA One (sm86)"],
        [1, "NVIDIA Other", [8, 9], 2 << 33, "cuda:1", "NVIDIA Other (sm89)"],
    ]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"TOLD_INIT": "100", "CUDA_VISIBLE_DEVICES": ""}, "no GPU, because CUDA_VISIBLE_DEVICES is '': unset it"),
        ({"TOLD_INIT": "100", "CUDA_VISIBLE_DEVICES": "7"}, "no GPU, because CUDA_VISIBLE_DEVICES is '7': unset it"),
        ({"TOLD_INIT": "0", "TOLD_COUNT": "0", "CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES is '-1'"),
        ({"TOLD_INIT": "100"}, "finds no GPU: see whether nvidia-smi lists one; start a container with --gpus all"),
        ({"TOLD_INIT": "34"}, "is the CUDA toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH"),
        ({"TOLD_INIT": "803"}, "was updated and the old one still runs: restart the machine"),
        ({"TOLD_INIT": "999"}, "does not start (cuInit: CUDA_ERROR_UNKNOWN): see what nvidia-smi says"),
        ({"TOLD_INIT": "4711"}, "does not start (cuInit: error 4711): see what nvidia-smi says"),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_driver_without_a_gpu(told: Path, says: dict[str, str], reason: str) -> None:
    found, none, lacks = ask(told, **says)
    assert found == []
    assert reason in none
    assert lacks == none


def test_a_device_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    control = tmp_path / "nvidiactl"
    control.touch()
    monkeypatch.setattr(device, "_CONTROL", control)
    monkeypatch.setattr(os, "access", lambda path, mode: path != control)
    assert device._no_device().startswith(f"{control} may not be opened by this user")


def test_a_driver_older_than_the_runtime(told: Path) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    version = runtime.cudaRuntimeGetVersion()[1]
    assert ask(told, TOLD_VERSION=str(version // 1000 * 1000))[2] == "", "any of the same major serves it"
    _, none, lacks = ask(told, TOLD_VERSION="11040")
    assert none == ""
    assert lacks.startswith("the NVIDIA driver serves CUDA 11.4 and is older than the runtime of cuda-python (1")
    assert lacks.endswith('update the driver, or pip install "cuda-python>=12.8,<13"')
    assert older_driver(12080, 13040) != ""
    assert older_driver(13000, 13040) == older_driver(13040, 12080) == ""


def test_without_cuda_bindings(told: Path, tmp_path: Path) -> None:
    """A package of that name that cannot be imported stands in for none."""
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "__init__.py").write_text("raise ImportError('no cuda.bindings here')")
    _, none, lacks = ask(told, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert none == ""
    assert lacks.startswith("the package cuda-python is missing or cannot be loaded (no cuda.bindings here)")
    assert lacks.endswith('pip install "cuda-python>=12.8"')


def test_naming_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    two = (Gpu(0, "One", (8, 6), 1), Gpu(1, "Other", (8, 9), 1))
    monkeypatch.setattr(device, "gpus", lambda: two)
    assert gpu_named(None, "x") == gpu_named("GPU", "x") == gpu_named("cuda:0", "x") == two[0]
    assert gpu_named("cuda:1", "x") == two[1]
    for name in ("cuda:2", "CPU", "GPU.0", "NPU9"):
        with pytest.raises(EngineUnavailable, match=rf"x has no device {name} here: .* cuda:0 \(One\), cuda:1 \(Other"):
            gpu_named(name, "x")
