"""The wheel in bare environments: the core needs neither torch nor an engine, and each engine works alone with it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import segexport
from segexport import checkpoint as checkpoints
from segexport import original
from segexport.bundle import MANIFEST, SUMS, Bundle

ROOT = Path(__file__).parents[1]
FORBIDDEN = ("torch", "transformers", "onnxscript", "datasets")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("segexport-*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_its_data_and_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "segexport" / "data").glob("*.json"):
        assert f"segexport/data/{path.name}" in names
    assert "segexport/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    sources = {f"segexport/{p.relative_to(ROOT / 'segexport').as_posix()}" for p in (ROOT / "segexport").rglob("*.py")}
    assert sources <= set(names)
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "engine"), [("cpu", "onnxruntime"), ("openvino", "openvino")])
def test_one_engine_and_no_torch(
    wheel: Path, extra: str, engine: str, bundle: Bundle, checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    """What a Jetson or a slim container has: core and one engine, and a bundle built elsewhere."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python, command = environment / "bin" / "python", str(environment / "bin" / "segexport")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, f"{wheel}[{extra}]"], check=True)
    for package in FORBIDDEN:
        absent = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
        assert absent.returncode != 0, f"{package} came along"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    assert run("--help").returncode == 0
    built = tmp_path / "bundle"
    if engine == bundle.manifest.engine.name:
        built = bundle.folder
    else:
        rebuilt = run("build", "--from-bundle", bundle.folder, "--engine", engine, "--out", built)
        assert rebuilt.returncode == 0, rebuilt.stderr
    assert run("selftest", built).stdout.startswith("passed")
    image = next((data / "images").iterdir())
    assert run("predict", built, image, "-o", "out").returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
    benched = run("bench", built, "--data", data, "--no-reference", "--json", "out.json")
    assert benched.returncode == 0, benched.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["engine"] == engine
    assert row["miou"] is not None

    # A checkpoint is built there as it is here, byte for byte: safetensors, and a pickle's .pth.
    for name, made in {"folder": checkpoint, "file": _as_original(checkpoint, tmp_path / "x.pth")}.items():
        done = run("build", "--model", made, "--engine", engine, "-o", f"there-{name}")
        assert done.returncode == 0, done.stderr
        here = segexport.build(made, tmp_path / f"here-{name}", engine=engine)
        there = tmp_path / f"there-{name}"
        files = {path.relative_to(here.folder) for path in here.folder.rglob("*") if path.is_file()}
        assert files == {path.relative_to(there) for path in there.rglob("*") if path.is_file()}
        assert {"golden/image.png", "golden/reference.png", "model.onnx"} <= {path.as_posix() for path in files}
        for path in files - {Path(MANIFEST), Path(SUMS)}:  # the manifest names the packages that were installed
            assert (there / path).read_bytes() == (here.folder / path).read_bytes(), path
        assert run("selftest", there).returncode == 0

    # What needs PyTorch, or the other engine, says how to get it.
    without_pytorch = run("bench", built)
    assert without_pytorch.returncode == 0, without_pytorch.stderr
    assert 'pip install "segexport[train]"' in without_pytorch.stdout
    refused = run("build", "--from-bundle", built, "--engine", _other(engine), "-o", "other")
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "pip install" in refused.stderr
    assert segexport.__version__ in run("--version").stdout


@pytest.mark.slow
def test_tensorrt_and_no_torch(wheel: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Where an engine is built from a bundle: core, TensorRT, and ONNX Runtime to check it, since there is no GPU."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python, command = environment / "bin" / "python", environment / "bin" / "segexport"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, f"{wheel}[cpu,rtx]"], check=True)
    for package in FORBIDDEN:
        absent = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
        assert absent.returncode != 0, f"{package} came along"
    kernel = "from segexport.tensorrt.kernel import compile_kernel; print(len(compile_kernel((8, 6))))"
    assert int(subprocess.run([python, "-c", kernel], capture_output=True, check=True).stdout) > 1000
    for arguments in (
        ("build", "--from-bundle", bundle.folder, "--engine", "tensorrt-rtx", "--precision", "fp16", "-o", "rtx"),
        ("inspect", "rtx/engine.plan"),
        ("doctor", "rtx", "--target", "rtx,jetpack-6.1"),
    ):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr


def _as_original(checkpoint: Path, file: Path) -> Path:
    """The checkpoint as the SegFormer authors' training writes it."""
    import torch

    loaded = checkpoints.load(checkpoint)
    tensors = original.to_original(loaded.tensors(), loaded.structure, "nvlabs")
    torch.save({"state_dict": {name: torch.from_numpy(value) for name, value in tensors.items()}, "meta": {}}, file)
    return file


def _other(engine: str) -> str:
    return "openvino" if engine == "onnxruntime" else "onnxruntime"
