"""Both TensorRTs as engines: what is said where they cannot run, and on a GPU, what they compute."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport import engines, scenes
from segexport.bundle import Bundle, open_bundle
from segexport.engines import choose, info, open_runner, tensorrt_runner
from segexport.errors import BundleCorrupt, ContractError, EngineMismatch, EngineUnavailable
from segexport.golden import selftest
from segexport.spec import DYNAMIC
from segexport.tensorrt import device, rtx_runtime
from segexport.tensorrt.device import Gpu, gpus, why_none
from segexport.tensorrt.flavour import FLAVOURS, RTX
from segexport.tensorrt.options import TensorRtOptions, parse_profile
from segexport.tensorrt.rtx_runtime import CACHE_FILE
from tests.support.cli import RunCli
from tests.support.contracts import pick
from tests.support.engines import require_engine

BOTH = ("tensorrt", "tensorrt-rtx")
no_gpu = pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")


def images(bundle: Bundle, count: int = 1, size: tuple[int, int] | None = None, seed: int = 0) -> np.ndarray:
    size = size or bundle.manifest.contract.image_size
    return np.stack([scenes.scene(seed + i, size)[0] for i in range(count)])


@pytest.mark.parametrize("name", BOTH)
def test_info_works_everywhere(name: str) -> None:
    found = info(name)
    assert found.builds
    assert found.builds_anywhere == (name == "tensorrt-rtx")
    assert bool(found.devices) != bool(found.missing), "either it runs, or it says why not"
    assert (found.version is not None) == (FLAVOURS[name].version() is not None)
    assert "pip install" in found.install


@no_gpu
class TestWithoutAGpu:
    def test_auto_takes_what_can_run(self) -> None:
        assert choose("auto").name not in engines.ON_GPU
        assert choose("auto").devices

    def test_one_builds_anyway_and_the_other_does_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if RTX.installed():
            assert choose("tensorrt-rtx", "fp16").name == "tensorrt-rtx"
        with pytest.raises(EngineUnavailable, match=r"^tensorrt "):
            choose("tensorrt")
        here = dataclasses.replace(info("tensorrt"), version="10.3.0", missing=why_none())
        monkeypatch.setattr("segexport.engines.tensorrt.info", lambda: here)
        with pytest.raises(
            EngineUnavailable, match=r"^tensorrt builds on the machine that it runs on, and cannot here: "
        ):
            choose("tensorrt")

    def test_where_nothing_can_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("openvino", "onnxruntime"):
            absent = dataclasses.replace(info(name), version=None, devices=())
            monkeypatch.setattr(f"segexport.engines.{name}.info", lambda absent=absent: absent)
        with pytest.raises(
            EngineUnavailable, match=r"^no engine is installed that can run here: pip install \"segexport\[op"
        ):
            choose("auto")

    @pytest.mark.bundle
    @pytest.mark.parametrize("command", ["selftest", "predict"])
    def test_one_line_says_what_is_missing(self, command: str, rtx: Bundle, run_cli: RunCli, tmp_path: Path) -> None:
        more = [rtx.folder / "golden" / "image.png", "-o", tmp_path / "out"] if command == "predict" else []
        done = run_cli(command, rtx.folder, *more)
        assert done.code == 2
        (line,) = done.err.strip().splitlines()
        assert line.startswith(f"error: tensorrt-rtx cannot run here: {device.missing()}; ")
        assert line.endswith("the bundle itself is whole: it runs on a machine with sm86 or sm89")
        assert not list(tmp_path.iterdir())

    @pytest.mark.bundle
    def test_a_plan_cut_in_half_is_found_all_the_same(self, rtx: Bundle, tmp_path: Path) -> None:
        folder = shutil.copytree(rtx.folder, tmp_path / "copy")
        plan = folder / "engine.plan"
        plan.write_bytes(plan.read_bytes()[: plan.stat().st_size // 2])
        with pytest.raises(BundleCorrupt, match=r"engine\.plan is not the file that was built"):
            open_bundle(folder)


def test_rtx_serves_rtx_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its own list of compute capabilities says."""
    if not RTX.installed():
        pytest.skip(f"{RTX.title} is not installed: {RTX.install}")
    kinds = {(7, 5): True, (8, 0): True, (8, 6): True, (8, 7): False, (8, 9): True, (9, 0): False, (12, 0): True}
    for capability, served in {**kinds, (10, 0): False, (13, 0): True}.items():
        one = Gpu(0, "NVIDIA One", capability, 1)
        assert rtx_runtime.serves(RTX, one) == served, one
        monkeypatch.setattr(tensorrt_runner, "gpus", lambda one=one: (one,))
        monkeypatch.setattr(device, "missing", lambda: "")
        found = info("tensorrt-rtx")
        assert found.devices == (("cuda:0",) if served else ())
        assert ("does not compute on NVIDIA One (sm" in found.missing) == (not served)


@pytest.fixture(scope="module")
def rtx(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small bundle for TensorRT for RTX, for two kinds of GPU."""
    if not RTX.installed():
        pytest.skip(f"{RTX.title} is not installed: {RTX.install}")
    options = TensorRtOptions(targets=("sm86", "sm89"))
    out = tmp_path_factory.mktemp("rtx") / "rtx"
    return segexport.rebuild(bundle, out, engine="tensorrt-rtx", tensorrt=options)


CONTRACTS = pick(
    *("mask", "batch 3", "dynamic batch", "odd size", "bgr", "scores", "logits", "mask at the network's size"),
    *("mask of another size", "camera", "letterbox"),
)
CLOSE = {"fp32": (0.9995, 1e-3), "fp16": (0.99, 0.1)}
"""Share of equal pixels, and largest difference of a logit or a confidence, that a precision may have."""


@pytest.mark.gpu
@pytest.mark.bundle
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("engine", BOTH)
class TestOnAGpu:
    @pytest.fixture(autouse=True)
    def _runs_here(self, engine: str) -> None:
        require_engine(engine)

    @pytest.mark.parametrize("precision", CLOSE)
    @pytest.mark.parametrize("contract", CONTRACTS)
    def test_outputs_are_onnxruntimes(
        self, checkpoint: Path, engine: str, contract: str, precision: str, tmp_path: Path
    ) -> None:
        """Of the portable graph in fp32; called often enough to be captured and replayed."""
        want = segexport.build(checkpoint, tmp_path / "cpu", engine="onnxruntime", **CONTRACTS[contract])
        made = segexport.rebuild(want, tmp_path / "gpu", engine=engine, precision=precision)
        batch = made.manifest.contract.batch
        given = [images(made, 2 if batch == DYNAMIC else batch, seed=seed) for seed in range(4)]
        with open_runner(want) as reference, open_runner(made) as runner:
            for one in given:
                expected, found = reference.run(one), runner.run(one)
                assert list(found) == list(expected)
                for name, value in found.items():
                    assert (value.shape, value.dtype) == (expected[name].shape, expected[name].dtype)
                    if name == "mask":
                        assert (value == expected[name]).mean() >= CLOSE[precision][0]
                    else:
                        np.testing.assert_allclose(value, expected[name], atol=CLOSE[precision][1])
            assert runner.device_seconds is not None
            assert 0 < runner.device_seconds < 10

    def test_the_same_image_gives_the_same_result(self, bundle: Bundle, engine: str, tmp_path: Path) -> None:
        made = segexport.rebuild(bundle, tmp_path / "gpu", engine=engine, precision="fp16")
        given = images(made)
        with open_runner(made) as runner:
            first = runner.run(given)["mask"]
            kept = first.copy()
            for seed in range(1, 4):
                runner.run(images(made, seed=seed))
            np.testing.assert_array_equal(runner.run(given)["mask"], kept)
            np.testing.assert_array_equal(first, kept)
        assert selftest(made).agreement == 1.0

    def test_class_maps_of_the_kernel_are_the_graphs(self, bundle: Bundle, engine: str, tmp_path: Path) -> None:
        masks = []
        for place in ("device", "graph"):
            options = TensorRtOptions(class_map=place)
            made = segexport.rebuild(bundle, tmp_path / place, engine=engine, tensorrt=options)
            assert made.manifest.engine.class_map == place
            with open_runner(made) as runner:
                masks.append(runner.run(images(made))["mask"])
        assert (masks[0] == masks[1]).mean() >= 0.9995

    def test_several_sizes(self, checkpoint: Path, engine: str, tmp_path: Path) -> None:
        """Two static profiles and one with room, changed back and forth; each against a graph made for its size."""
        sizes = [(64, 96), (96, 128), (72, 100)]
        each = {
            size: segexport.build(checkpoint, tmp_path / f"{size[0]}", engine="onnxruntime", size=size, batch=DYNAMIC)
            for size in sizes
        }
        profiles = tuple(map(parse_profile, ("1x64x96", "1x96x128", "1x64x64:1x72x100:2x96x128")))
        options = TensorRtOptions(profiles=profiles)
        made = segexport.rebuild(each[sizes[0]], tmp_path / "gpu", engine=engine, tensorrt=options)
        with open_runner(made) as runner:
            for size, count in [
                (sizes[0], 1),
                (sizes[1], 1),
                (sizes[2], 2),
                (sizes[0], 1),
                (sizes[0], 2),
                (sizes[1], 1),
            ]:
                given = images(made, count, size)
                with open_runner(each[size]) as reference:
                    want = reference.run(given)["mask"]
                found = runner.run(given)["mask"]
                assert found.shape == want.shape
                assert (found == want).mean() >= 0.999
            with pytest.raises(ContractError, match="1x64x96 or 1x96x128 or 1x64x64:1x72x100:2x96x128"):
                runner.run(images(made, 3))

    def test_another_device_is_refused(self, bundle: Bundle, engine: str, tmp_path: Path) -> None:
        made = segexport.rebuild(bundle, tmp_path / "gpu", engine=engine)
        with pytest.raises(
            EngineUnavailable, match=f"{engine} has no device NPU9 here: pass --device with one of cuda:0"
        ):
            open_runner(made, device="NPU9")

    def test_a_plan_of_another_version(self, bundle: Bundle, engine: str, tmp_path: Path) -> None:
        made = segexport.rebuild(bundle, tmp_path / "gpu", engine=engine)
        facts = dataclasses.replace(made.manifest.engine, version="10.0.1")
        other = Bundle(made.folder, dataclasses.replace(made.manifest, engine=facts))
        with pytest.raises(EngineMismatch, match=r"10\.0\.1, and here is .*segexport build --from-bundle"):
            open_runner(other)

    def test_memory_is_given_back(self, bundle: Bundle, engine: str, tmp_path: Path) -> None:
        runtime = pytest.importorskip("cuda.bindings.runtime")
        made = segexport.rebuild(bundle, tmp_path / "gpu", engine=engine)
        free = []
        for _ in range(4):
            with open_runner(made) as runner:
                runner.run(images(made))
            free.append(runtime.cudaMemGetInfo()[1])
        assert free[-1] >= free[1] - (8 << 20), "the first opening sets CUDA up; the others leave nothing behind"


@pytest.mark.gpu
@pytest.mark.bundle
def test_rtx_keeps_what_it_compiled(gpu: Gpu, bundle: Bundle, tmp_path: Path) -> None:
    require_engine("tensorrt-rtx")
    made = segexport.rebuild(bundle, tmp_path / "gpu", engine="tensorrt-rtx")
    shutil.rmtree(made.cache, ignore_errors=True)
    with open_runner(made) as runner:
        want = runner.run(images(made))["mask"]
    kept = made.cache / CACHE_FILE
    assert kept.stat().st_size > 0
    with open_runner(open_bundle(made.folder)) as runner:
        np.testing.assert_array_equal(runner.run(images(made))["mask"], want)


@pytest.mark.gpu
@pytest.mark.bundle
def test_rtx_refuses_a_plan_for_other_gpus(gpu: Gpu, bundle: Bundle, tmp_path: Path) -> None:
    require_engine("tensorrt-rtx")
    other = "sm89" if gpu.target != "sm89" else "sm86"
    with pytest.raises(EngineMismatch, match=rf"for GPU {other}, and here is .*--target {gpu.target} --out NEW"):
        open_runner(
            segexport.rebuild(bundle, tmp_path / "gpu", engine="tensorrt-rtx", tensorrt=TensorRtOptions((other,)))
        )
