"""ONNX Runtime's GPU providers: on the GPU or not at all, and why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from segexport.engines import ON_GPU, choose, info, open_runner
from segexport.engines.onnxruntime_gpu import CUDA, TENSORRT, TENSORRT_RTX, GpuProvider
from segexport.errors import EngineUnavailable
from segexport.tensorrt.device import Gpu, gpus, why_none
from tests.support import small_graphs
from tests.support.engines import require_engine

THREE = (TENSORRT, TENSORRT_RTX, CUDA)
NOT_THERE = Gpu(0, "none", (8, 6), 0)
no_gpu = pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_graphs.segmenter(tmp_path_factory.mktemp("graph") / "graph.onnx")


@pytest.mark.parametrize("engine", THREE, ids=lambda one: one.name)
def test_info_works_everywhere(engine: GpuProvider) -> None:
    found = info(engine.name)
    assert found == engine.info()
    assert engine.name in ON_GPU
    assert bool(found.devices) != bool(found.missing)
    assert "pip install" in found.install
    assert not found.builds_anywhere


@no_gpu
@pytest.mark.parametrize("engine", THREE, ids=lambda one: one.name)
class TestWithoutAGpu:
    def test_it_is_not_chosen(self, engine: GpuProvider) -> None:
        with pytest.raises(EngineUnavailable, match=f"^{engine.name} "):
            choose(engine.name)

    def test_a_bundle_is_not_opened(self, engine: GpuProvider) -> None:
        with pytest.raises(EngineUnavailable, match=f"^{engine.name} needs an NVIDIA GPU: ") as caught:
            engine.open_bundle(None, threads=None, device=None)  # type: ignore[arg-type]  # the device comes first
        assert why_none() in str(caught.value)

    def test_an_onnxruntime_without_it(self, engine: GpuProvider, graph: Path) -> None:
        """The one that is installed: left alone, it would compute on the CPU and warn."""
        if engine.provider in ort.get_available_providers() or info(engine.name).version:
            pytest.skip(f"this ONNX Runtime has {engine.provider}")
        with pytest.warns(UserWarning, match="not in available provider names"):
            alone = ort.InferenceSession(graph, providers=[engine.provider])
        assert alone.get_providers() == ["CPUExecutionProvider"]
        without = f"built without {engine.provider}: pip " if engine.library else "is not installed .*: pip install"
        with pytest.raises(EngineUnavailable, match=f"^{engine.name}.* {without}"):
            engine.session(graph, NOT_THERE, {})


class TestFallback:
    """What ONNX Runtime does on the CPU after all is refused: with its CPU provider in the place of a GPU's."""

    def engine(self, provider: str) -> GpuProvider:
        return GpuProvider("engine", provider, (), "", "pip install it", ("fp32",))

    @pytest.mark.parametrize(("falls", "message"), [(True, "fell back to CPUExecutionProvider"), (False, "CPU EP")])
    def test_is_refused(self, falls: bool, message: str, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session's own check, and ours behind it."""

        def session(self, ort, path, settings, gpu, options):
            if falls:
                settings = None
            return ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

        monkeypatch.setattr(GpuProvider, "_plugged_in", session)
        with pytest.raises(EngineUnavailable, match=message):
            self.engine("CUDAExecutionProvider").session(graph, NOT_THERE, {})

    def test_a_part_left_to_the_cpu(self, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def session(self, ort, path, settings, gpu, options):
            return ort.InferenceSession(path, settings, providers=["AzureExecutionProvider"])

        monkeypatch.setattr(GpuProvider, "_plugged_in", session)
        if "AzureExecutionProvider" not in ort.get_available_providers():
            pytest.skip("this ONNX Runtime has no provider that computes nothing")
        with pytest.raises(
            EngineUnavailable, match="engine would leave a part of the graph to the CPU: build with a fix"
        ):
            self.engine("AzureExecutionProvider").session(graph, NOT_THERE, {})


ASK = """
import sys
from pathlib import Path
from segexport.engines import onnxruntime_gpu
from segexport.errors import EngineUnavailable
from segexport.tensorrt.device import Gpu
try:
    getattr(onnxruntime_gpu, sys.argv[1]).session(Path(sys.argv[2]), Gpu(0, "none", (8, 6), 0), {})
except EngineUnavailable as error:
    print(error)
"""


@no_gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "names", "reason"),
    [
        ("onnxruntime-gpu", ("CUDA", "TENSORRT"), "cannot be loaded (libcu"),
        ("onnxruntime-ep-nv-tensorrt-rtx-cu13", ("TENSORRT_RTX",), "cannot run here: no NVIDIA driver (libcuda.so.1"),
    ],
)
def test_the_real_packages(package: str, names: tuple[str, ...], reason: str, graph: Path, tmp_path: Path) -> None:
    """With everything but the driver (and CUDA's libraries), the error names the library that could not be loaded."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target"]
    done = subprocess.run([*install, tmp_path, package], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot get {package}: {done.stderr.strip().splitlines()[-1]}")
    for name in names:
        asked = subprocess.run(
            [sys.executable, "-c", ASK, name, graph],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            cwd=Path(segexport.__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        (line,) = asked.stdout.splitlines()
        assert reason in line, line
        assert "pip install" in line or "drivers" in line


@pytest.mark.gpu
@pytest.mark.bundle
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("engine", THREE, ids=lambda one: one.name)
@pytest.mark.parametrize(("precision", "close"), [("fp32", 0.9995), ("fp16", 0.99)])
def test_masks_are_the_cpus(engine: GpuProvider, precision, close: float, bundle: Bundle, tmp_path: Path) -> None:
    require_engine(engine.name)
    made = segexport.rebuild(bundle, tmp_path / "gpu", engine=engine.name, precision=precision)
    with open_runner(bundle) as reference, open_runner(made) as runner:
        for seed in range(3):
            image = scenes.scene(seed, bundle.manifest.contract.image_size)[0][None]
            want, found = reference.run(image)["mask"], runner.run(image)["mask"]
            assert len(np.unique(want)) > 2, "a mask of one class proves nothing"
            assert (found == want).mean() >= close
