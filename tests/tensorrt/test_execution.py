"""Running an engine: memory, streams, profiles and graphs, on what stands in for a GPU (tests.tensorrt.stand_in)."""

from __future__ import annotations

import dataclasses
import inspect
import stat
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

runtime = pytest.importorskip("cuda.bindings.runtime", reason='pip install "cuda-python>=12.8"')

from segexport.engines.tensorrt_runner import TensorRtRunner, mask_size_of  # noqa: E402
from segexport.errors import ContractError, EngineUnavailable, SegexportWarning  # noqa: E402
from segexport.spec import DYNAMIC, Contract, Grid  # noqa: E402
from segexport.tensorrt import execution, rtx_runtime  # noqa: E402
from segexport.tensorrt.cudart import Cuda  # noqa: E402
from segexport.tensorrt.execution import Execution  # noqa: E402
from segexport.tensorrt.flavour import Flavour  # noqa: E402
from tests.support import small_graphs  # noqa: E402
from tests.tensorrt import stand_in  # noqa: E402

CLASSIC = Flavour("tensorrt", "TensorRT", "tests.tensorrt.stand_in", "", (1, 0))
RTX = dataclasses.replace(CLASSIC, engine="tensorrt-rtx", title="TensorRT for RTX")
SMALL, WIDE, ANY = ([1, 32, 40],) * 3, ([1, 64, 96],) * 3, ([1, 32, 32], [1, 64, 64], [3, 96, 128])


def images(count: int = 1, height: int = 64, width: int = 96, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def ends_at_logits(path: Path, dtype: int = TensorProto.FLOAT16) -> Path:
    """Any image -> logits of a quarter of its size, as an engine gives them to the kernel behind it."""
    weights = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["sums"], strides=[4, 4]),
        helper.make_node("Div", ["sums", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["logits"], to=dtype),
    ]
    inputs = [("image", TensorProto.UINT8, ["n", "h", "w", 3])]
    constants = {"weights": weights, "scale": np.float32(100)}
    return small_graphs.save(path, nodes, inputs, [("logits", dtype, ["n", 5, "a", "b"])], constants)


def by_onnxruntime(path: Path, given: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": given})[0]


class Made:
    """An execution of a graph, and what there is to see of it."""

    def __init__(self, path: Path, profiles=(), flavour: Flavour = CLASSIC, **arguments) -> None:
        self.cuda = arguments.pop("cuda", None) or stand_in.Cuda()
        runtime = stand_in.Runtime(stand_in.ILogger())
        self.engine = runtime.deserialize_cuda_engine(stand_in.plan_of(path.read_bytes(), list(profiles)))
        self.execution = Execution(flavour, runtime, self.engine, Cuda(0, self.cuda), **arguments)

    def runner(self, contract: Contract) -> TensorRtRunner:
        return TensorRtRunner(self.execution, contract)

    @property
    def launches(self) -> list[str]:
        """Replays of graphs and captures, in order."""
        return [call for call in self.cuda.calls if call in ("cudaGraphLaunch", "cudaStreamBeginCapture")]


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    return small_graphs.segmenter(tmp_path / "fixed.onnx")


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    return small_graphs.segmenter(tmp_path / "open.onnx", batch="n", height="h", width="w")


MASK = Contract((64, 96), mask_size=(64, 96))


def test_the_stand_in_takes_what_cuda_takes() -> None:
    """Names and numbers of arguments, as far as the bindings tell."""
    for name, own in vars(stand_in.Cuda).items():
        if name.startswith("cuda") and inspect.isfunction(own):
            theirs = list(inspect.signature(getattr(runtime, name)).parameters)
            assert list(inspect.signature(own).parameters)[1:] == theirs, name
    source = inspect.getsource(Cuda)
    used = {word.split("(")[0] for word in source.split("self._api.")[1:]}
    calls = {name for name in used if name.isidentifier() and inspect.isroutine(getattr(runtime, name))}
    assert calls == {name for name in vars(stand_in.Cuda) if name in calls}
    assert len(calls) > 15


def test_masks_are_the_graphs(fixed: Path) -> None:
    given = [images(seed=seed) for seed in range(4)]
    with Made(fixed).runner(MASK) as runner:
        found = [runner.run(one)["mask"] for one in given]
        assert runner.device_seconds == pytest.approx(1.5e-3)
    for one, mask in zip(given, found, strict=True):
        np.testing.assert_array_equal(mask, by_onnxruntime(fixed, one))
    assert (found[0] != found[1]).any()


def test_images_need_not_be_contiguous(fixed: Path) -> None:
    wide = images(width=192)
    with Made(fixed).runner(MASK) as runner:
        np.testing.assert_array_equal(runner.run(wide[:, :, ::2])["mask"], by_onnxruntime(fixed, wide[:, :, ::2]))


def test_staged_twice_the_second_counts(fixed: Path) -> None:
    with Made(fixed).runner(MASK) as runner:
        runner.stage(images(seed=1))
        runner.stage(images(seed=2))
        runner.execute()
        np.testing.assert_array_equal(runner.fetch()["mask"], by_onnxruntime(fixed, images(seed=2)))


class TestProfiles:
    def test_the_narrowest_serves(self, opened: Path) -> None:
        made = Made(opened, [SMALL, ANY, WIDE])
        (context,) = made.engine.contexts
        runner = made.runner(Contract((64, 96), batch=DYNAMIC, mask_size=(64, 96)))
        before = len(context.profiles_set)
        served = {(1, 64, 96): 2, (1, 32, 40): 0, (2, 64, 96): 1, (3, 96, 128): 1}
        for shape in [*served, (1, 64, 96)]:
            given = images(*shape)
            np.testing.assert_array_equal(runner.run(given)["mask"], by_onnxruntime(opened, given))
            assert context.profile == served[shape]
        assert context.profiles_set[before:] == [2, 0, 1, 2], "and is changed where it must be"
        runner.close()

    @pytest.mark.parametrize(("batch", "want"), [(DYNAMIC, 3), (1, 1)])
    def test_several_images_go_together_as_far_as_one_serves(self, opened: Path, batch: int, want: int) -> None:
        contract = Contract((64, 96), batch=batch, mask_size=(64, 96))
        with Made(opened, [SMALL, ANY, WIDE]).runner(contract) as runner:
            assert runner.batch == want
            assert len(runner.run(images(runner.batch, 64, 96))["mask"]) == want

    def test_memory_is_taken_once(self, opened: Path) -> None:
        made = Made(opened, [SMALL, ANY])
        taken = made.cuda.calls.count("cudaMalloc")
        for shape in [(1, 32, 40), (3, 96, 128), (2, 40, 50)]:
            made.execution.stage(images(*shape))
            made.execution.execute()
            made.execution.fetch()
        assert made.cuda.calls.count("cudaMalloc") == taken == 2
        made.execution.close()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (images(4, 64, 96), r"\(4, 64, 96, 3\): this engine takes .* NxHxW 1x32x40 or 1x32x32:1x64x64:3x96x128"),
            (images(1, 96, 129), r"\(1, 96, 129, 3\)"),
            (images()[0], r"\(64, 96, 3\)"),
            (images()[..., :2], r"\(1, 64, 96, 2\)"),
            (images().astype(np.float32), "images are float32"),
        ],
    )
    def test_others_are_refused(self, opened: Path, given: np.ndarray, message: str) -> None:
        with Made(opened, [SMALL, ANY]).runner(MASK) as runner, pytest.raises(ContractError, match=message):
            runner.run(given)

    def test_without_any_the_graphs_own_shape(self, fixed: Path) -> None:
        with (
            Made(fixed).runner(MASK) as runner,
            pytest.raises(ContractError, match="NxHxW 1x64x96; build with another"),
        ):
            runner.run(images(1, 64, 64))


class TestClassMapOnTheDevice:
    @pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.FLOAT])
    def test_of_every_size(self, tmp_path: Path, dtype: int) -> None:
        path, kernel = ends_at_logits(tmp_path / "logits.onnx", dtype), stand_in.Kernel()
        contract = Contract((64, 96), batch=DYNAMIC, mask_size=(64, 96))
        made = Made(path, [WIDE, ANY], kernel=kernel, mask_size=mask_size_of(contract))
        with made.runner(contract) as runner:
            for count, height, width in [(1, 64, 96), (3, 96, 128), (2, 33, 50), (1, 64, 96)]:
                given = images(count, height, width)
                (mask,) = runner.run(given).values()
                logits = by_onnxruntime(path, given)
                np.testing.assert_array_equal(mask, stand_in.nearest(logits, (height, width)))
                assert kernel.launched[-1] == (logits.dtype.name, logits.shape, (height, width))
        assert kernel.closed == 1
        assert not made.cuda.alive

    def test_a_replayed_graph_makes_it_too(self, tmp_path: Path) -> None:
        path, kernel = ends_at_logits(tmp_path / "logits.onnx"), stand_in.Kernel()
        made = Made(path, [WIDE], kernel=kernel, mask_size=mask_size_of(MASK))
        with made.runner(MASK) as runner:
            for seed in range(4):
                given = images(seed=seed)
                want = stand_in.nearest(by_onnxruntime(path, given), (64, 96))
                np.testing.assert_array_equal(runner.run(given)["mask"], want)
        assert len(kernel.launched) == 2, "once, once more for the capture, and in its replays"

    @pytest.mark.parametrize(
        ("mask", "image", "want"),
        [
            ((64, 96), (64, 96), (64, 96)),
            ((64, 96), (40, 50), (40, 50)),
            ((16, 24), (40, 50), (10, 12)),
            ((16, 24), (64, 96), (16, 24)),
            ((100, 77), (64, 96), (100, 77)),
            ((100, 77), (40, 50), (100, 77)),
        ],
    )
    def test_its_size(self, mask, image, want) -> None:
        assert mask_size_of(Contract((64, 96), mask_size=mask))(image, (10, 12)) == want

    @pytest.mark.parametrize(
        ("grid", "mask", "want"),
        [
            (Grid(3, 2), (32, 48), (10, 12)),
            (Grid(4, 2), (33, 49), (10, 12)),
            (Grid(3, 2), (16, 24), (16, 24)),
            (Grid(), (32, 48), (32, 48)),
        ],
    )
    def test_the_logits_own_is_the_networks(self, grid, mask, want) -> None:
        assert mask_size_of(Contract((64, 96), mask_size=mask, grid=grid))((40, 50), (10, 12)) == want


def test_outputs_are_as_promised_and_the_callers(tmp_path: Path) -> None:
    """FP16 logits as float32, int64 classes as int32; the next call leaves them alone."""
    path = ends_at_logits(tmp_path / "logits.onnx")
    contract = Contract((64, 96), output="logits", mask_size=(16, 24))
    with Made(path, [WIDE]).runner(contract) as runner:
        first = runner.run(images(seed=1))["logits"]
        kept = first.copy()
        runner.run(images(seed=2))
        np.testing.assert_array_equal(first, kept)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, by_onnxruntime(path, images(seed=1)).astype(np.float32))

    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("TopK", ["means", "k"], ["scores", "classes"]),
    ]
    outputs = [("classes", TensorProto.INT64, [1, 2]), ("scores", TensorProto.FLOAT, [1, 2])]
    top = small_graphs.save(
        tmp_path / "top.onnx",
        nodes,
        [("image", TensorProto.UINT8, [1, 64, 96, 3])],
        outputs,
        {"axes": np.array([1, 2]), "k": np.array([2])},
    )
    with Made(top).runner(Contract((64, 96), output="topk", topk=2)) as runner:
        found = runner.run(images())
    assert (found["classes"].dtype, found["scores"].dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(found["classes"], by_onnxruntime(top, images()))


class TestGraphs:
    def test_captured_from_the_second_call_on(self, fixed: Path) -> None:
        made = Made(fixed)
        with made.runner(MASK) as runner:
            for seed in range(4):
                given = images(seed=seed)
                np.testing.assert_array_equal(runner.run(given)["mask"], by_onnxruntime(fixed, given))
        assert made.launches == ["cudaStreamBeginCapture", *["cudaGraphLaunch"] * 3]
        assert not made.cuda.alive

    def test_captured_anew_for_another_shape(self, opened: Path) -> None:
        made = Made(opened, [ANY])
        with made.runner(MASK) as runner:
            for shape in [(1, 64, 96)] * 2 + [(2, 40, 50)] * 3 + [(1, 64, 96), (2, 40, 50), (1, 64, 96)]:
                given = images(*shape)
                np.testing.assert_array_equal(runner.run(given)["mask"], by_onnxruntime(opened, given))
        capture, launch = "cudaStreamBeginCapture", "cudaGraphLaunch"
        assert made.launches == [capture, launch, capture, launch, launch], "alternating shapes are not worth one"

    def test_where_it_cannot_be_captured(self, fixed: Path) -> None:
        made = Made(fixed)
        made.engine.refuse_capture = True
        with made.runner(MASK) as runner:
            runner.run(images())
            with pytest.warns(SegexportWarning, match="no CUDA graph for this engine.*execute_async_v3 failed"):
                runner.run(images())
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = runner.run(images(seed=3))["mask"]
        np.testing.assert_array_equal(found, by_onnxruntime(fixed, images(seed=3)))
        assert made.launches == ["cudaStreamBeginCapture"]
        assert not made.cuda.alive


class TestFailures:
    @pytest.mark.parametrize("call", ["cudaMalloc", "cudaMallocHost"])
    @pytest.mark.parametrize("turn", [1, 2, 3])
    def test_a_full_gpu_keeps_nothing(self, tmp_path: Path, call: str, turn: int) -> None:
        cuda, kernel = stand_in.Cuda(), stand_in.Kernel()
        cuda.failing[call] = (turn, runtime.cudaError_t.cudaErrorMemoryAllocation)
        path = ends_at_logits(tmp_path / "logits.onnx")
        message = rf"^{call} finds no \d+ KiB: close what else uses .* or build for a smaller --profile or --batch"
        with pytest.raises(EngineUnavailable, match=message):
            Made(path, [WIDE], cuda=cuda, kernel=kernel)
        assert cuda.calls.count(call) == turn
        assert not cuda.alive
        assert kernel.closed == 1

    @pytest.mark.parametrize("call", ["cudaStreamCreateWithFlags", "cudaEventCreate", "cudaSetDevice"])
    def test_what_cannot_be_made_is_named(self, fixed: Path, call: str) -> None:
        cuda = stand_in.Cuda()
        cuda.failing[call] = (1, runtime.cudaError_t.cudaErrorUnknown)
        with pytest.raises(
            EngineUnavailable, match=rf"^{call} failed on GPU 0 \(cudaErrorUnknown: unknown error\): see"
        ):
            Made(fixed, cuda=cuda)

    def test_a_broken_call_is_named_and_closing_is_quiet(self, fixed: Path) -> None:
        made = Made(fixed)
        illegal = runtime.cudaError_t.cudaErrorIllegalAddress
        made.cuda.failing["cudaStreamSynchronize"] = (made.cuda.calls.count("cudaStreamSynchronize") + 1, illegal)
        made.cuda.failing["cudaFree"] = (1, illegal)
        with (
            pytest.raises(EngineUnavailable, match=r"^cudaStreamSynchronize failed on GPU 0 \(cudaErrorIllegalAddress"),
            made.runner(MASK) as runner,
        ):
            runner.run(images())
        assert not made.cuda.alive

    def test_a_failing_free_is_told_where_nothing_failed_before(self, fixed: Path) -> None:
        made = Made(fixed)
        made.cuda.failing["cudaFree"] = (1, runtime.cudaError_t.cudaErrorInvalidValue)
        with pytest.raises(EngineUnavailable, match=r"^cudaFree failed on GPU 0 \(cudaErrorInvalidValue"):
            made.execution.close()
        assert not made.cuda.alive, "and the rest is freed"

    def test_no_context(self, fixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stand_in.Engine, "create_execution_context", lambda self: None)
        cuda = stand_in.Cuda()
        with pytest.raises(
            EngineUnavailable, match=r"create_execution_context failed .*: close what else uses the GPU"
        ):
            Made(fixed, cuda=cuda)
        assert not cuda.alive

    def test_closing_twice(self, fixed: Path) -> None:
        made = Made(fixed)
        made.execution.close()
        made.execution.close()
        assert not made.cuda.alive


class TestRtx:
    @pytest.fixture(autouse=True)
    def _rtx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(execution, "RTX", RTX)

    def test_it_captures_by_itself(self, fixed: Path) -> None:
        made = Made(fixed, flavour=RTX)
        config = made.engine.config
        assert config.cuda_graph_strategy is stand_in.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        eager = stand_in.DynamicShapesKernelSpecializationStrategy.EAGER
        assert config.dynamic_shapes_kernel_specialization_strategy is eager
        with made.runner(MASK) as runner:
            for seed in range(3):
                runner.run(images(seed=seed))
        assert made.launches == []

    def test_its_cache_is_kept(self, fixed: Path, tmp_path: Path) -> None:
        path = tmp_path / "cache" / rtx_runtime.CACHE_FILE
        made = Made(fixed, flavour=RTX, cache=path)
        made.engine.config.cache.content += b" compiled"
        assert not path.exists()
        made.execution.close()
        assert path.read_bytes() == b"1.7 compiled"
        assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing half-written beside it"
        before = path.stat()
        again = Made(fixed, flavour=RTX, cache=path)
        assert again.engine.config.cache.content == b"1.7 compiled", "and used"
        again.execution.close()
        assert path.stat().st_ino == before.st_ino, "not written where nothing is new"

    def test_another_versions_cache_is_replaced(self, fixed: Path, tmp_path: Path) -> None:
        path = tmp_path / rtx_runtime.CACHE_FILE
        path.write_bytes(b"1.6 compiled")
        made = Made(fixed, flavour=RTX, cache=path)
        assert made.engine.config.cache.content == b"1.7"
        made.execution.close()
        assert path.read_bytes() == b"1.7"

    def test_a_folder_that_cannot_be_written(self, fixed: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file, where the folder would be")
        made = Made(fixed, flavour=RTX, cache=tmp_path / "cache" / rtx_runtime.CACHE_FILE)
        made.execution.close()
        assert not made.cuda.alive
        assert stat.S_ISREG((tmp_path / "cache").stat().st_mode)
