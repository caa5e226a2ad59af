"""FP16 as a graph of casts: strongly typed, the contract unchanged, and what overflows kept in FP32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import example, given
from hypothesis.extra import numpy as arrays

import segexport
from segexport.engines import onnxruntime as engine
from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.precision.emulate import emulate_fp16
from segexport.precision.fp16 import LARGEST, LIMIT, to_fp16
from segexport.spec import DYNAMIC
from tests.support.checkpoints import SIZE
from tests.support.contracts import CLASSIFIER, pick
from tests.support.float_types import mixed, types_of
from tests.support.handmade import computed, modules, operators, outputs_of, proto_of
from tests.support.properties import examples

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
IMAGE = "float[1,1,4,5]"
ONE = np.ones((1, 1, 1, 1))


def chain(first: float, second: float, third: float) -> Graph:
    """A number through three products, each a module of its own."""
    body = "a = Conv (x, w) b = Mul (a, second) y = Mul (b, third)"
    constants = {"w": first * ONE, "second": np.array(float(second)), "third": np.array(float(third))}
    return modules(f"({IMAGE} x) => ({IMAGE} y)", body, constants)


def types(graph: Graph) -> dict[str, ir.DataType | None]:
    """What each node makes."""
    return {node.name or "": node.outputs[0].dtype for node in graph.model.graph}


def test_a_chain_that_overflows() -> None:
    """300 * 300 is too large for FP16: infinite unless calibration saw it coming."""
    inputs = {"x": np.ones((1, 1, 4, 5), np.float32)}
    blind, warned = chain(300, 300, 0.001), chain(300, 300, 0.001)
    assert to_fp16(blind, {}) == ()
    assert to_fp16(warned, {"b": 90000.0}) == ("b", "y"), "what makes the number, and what reads it"
    for graph, wanted in ((blind, np.inf), (warned, 90.0)):
        emulate_fp16(graph)
        np.testing.assert_allclose(computed(graph, inputs), wanted, rtol=1e-3)


def test_the_default_session_rounds_too(tmp_path: Path) -> None:
    """The engine's own session, with every optimization of ONNX Runtime, drops no rounding."""
    graph = chain(300, 300, 0.001)
    to_fp16(graph, {})
    emulate_fp16(graph)
    ir.save(graph.model, tmp_path / "model.onnx")
    session = engine.session(tmp_path / "model.onnx", None)
    assert np.isinf(session.run(None, {"x": np.ones((1, 1, 4, 5), np.float32)})[0]).all()


@pytest.mark.parametrize(("peak", "wide"), [(LIMIT, True), (np.nextafter(LIMIT, 0), False)])
def test_a_module_near_the_largest_number_stays_with_its_readers(peak: float, wide: bool) -> None:
    body = "a = Conv (x, w) b = Relu (a) c = Relu (b) y = Relu (c)"
    graph = modules(f"({IMAGE} x) => ({IMAGE} y)", body, {"w": ONE})
    kept = to_fp16(graph, {"b": peak})
    assert kept == (("b", "c") if wide else ())
    found = types(graph)
    assert (found["a/Conv"], found["y/Relu"]) == (HALF, HALF)
    assert (found["b/Relu"], found["c/Relu"]) == ((FLOAT, FLOAT) if wide else (HALF, HALF))
    inner = ["Conv", "Cast", "Relu", "Relu", "Cast", "Relu"] if wide else ["Conv", "Relu", "Relu", "Relu"]
    assert operators(graph) == ["Cast", *inner, "Cast"]
    assert mixed(proto_of(graph)) == []


@pytest.mark.parametrize(("weight", "kept"), [(LARGEST, ()), (65536.0, ("a",)), (-1e6, ("a",))])
def test_weights_that_do_not_fit(weight: float, kept: tuple[str, ...]) -> None:
    graph = chain(weight, 1e-3, 1e-3)
    assert to_fp16(graph, {}) == kept
    assert types(graph)["a/Conv"] == (FLOAT if kept else HALF)
    found = outputs_of(graph, {"x": np.ones((1, 1, 4, 5))})[0]
    np.testing.assert_allclose(found, np.full_like(found, weight * 1e-6), rtol=2e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(bad: float) -> None:
    graph = modules(f"({IMAGE} x) => ({IMAGE} y)", "y = Conv (x, kernel)", {"kernel": np.full((1, 1, 1, 3), bad)})
    with pytest.raises(PrecisionError, match=r"3 of 3 numbers of kernel are NaN or infinite: the checkpoint is broken"):
        to_fp16(graph, {})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_peaks_that_are_no_numbers(bad: float) -> None:
    with pytest.raises(PrecisionError, match="the activations of b are NaN or infinite in FP32 already"):
        to_fp16(chain(1, 1, 1), {"a": 1.0, "b": bad})


def test_a_graph_without_layers() -> None:
    with pytest.raises(PrecisionError, match="has no convolution"):
        to_fp16(modules("(float[1] x) => (float[1] y)", "y = Relu (x)", {}), {})


def test_one_cast_for_all_readers() -> None:
    """Two wide readers of one FP16 value share the cast; and so do two constants' readers."""
    body = "a = Conv (x, w) b = Mul (a, k) c = Mul (a, k) d = Add (b, c) e = Mul (a, k) y = Add (d, e)"
    graph = modules(f"({IMAGE} x) => ({IMAGE} y)", body, {"w": ONE, "k": np.array(2.0)})
    to_fp16(graph, {"b": LIMIT, "c": LIMIT})
    proto = proto_of(graph)
    assert mixed(proto) == []
    assert max(casts(proto).values()) == 1
    assert operators(graph).count("Cast") == 4, "x and d down, a and y up"
    assert len(proto.graph.initializer) == 3, "w and k in FP16, k in FP32"


def casts(model: onnx.ModelProto) -> Counter[tuple[str, int]]:
    """How often each value is cast to each type."""
    nodes = [node for node in model.graph.node if node.op_type == "Cast"]
    return Counter((node.input[0], node.attribute[0].i) for node in nodes)


@pytest.mark.parametrize("peak", [4.1, 131.0, 255.0, 3.0])
def test_scaling_the_first_layer_is_exact(peak: float) -> None:
    """Moved into the weights is a power of two: with all else kept in FP32, every bit stays."""
    body = "a = Sub (x, centre) b = Conv (a, w) y = Relu (b)"
    rng = np.random.default_rng(0)
    constants = {"centre": np.array(117.0), "w": rng.normal(size=(1, 1, 3, 3)) / 255}
    graph = modules(f"({IMAGE} x) => (float[1,1,2,3] y)", body, constants)
    inputs = {"x": rng.integers(0, 256, (1, 1, 4, 5))}
    (before,) = outputs_of(graph, inputs)
    to_fp16(graph, {"a": peak, "b": LIMIT})
    np.testing.assert_array_equal(outputs_of(graph, inputs)[0], before)
    scaled = {name: value.const_value.numpy() for name, value in graph.model.graph.initializers.items()}
    factor = 1 / scaled["preprocess.to_fp16"] if peak > 4 else 1.0
    assert peak / 4 <= factor < peak / 2 or peak < 4
    assert np.frexp(factor)[0] == 0.5


@pytest.fixture(scope="module")
def emulated() -> ort.InferenceSession:
    """Operators with one rounding each, in FP16 as emulated."""
    body = """
        c = Conv (x, w) a = Add (c, k) b = Mul (a, m) r = Relu (b) t = Transpose <perm=[0,1,3,2]> (r)
        wide = Cast <to=1> (t) y = Add (wide, tenth)"""
    signature = f"({IMAGE} x, {IMAGE} k, {IMAGE} m) => (float[1,1,5,4] y)"
    graph = modules(signature, body, {"w": ONE, "tenth": np.array(0.1)})
    to_fp16(graph, {})
    emulate_fp16(graph)
    assert all(value.dtype == FLOAT for value in graph.model.graph.initializers.values())
    return ort.InferenceSession(proto_of(graph).SerializeToString(), providers=["CPUExecutionProvider"])


def finite(bits: np.ndarray) -> np.ndarray:
    """Any FP16 numbers, from their bits."""
    numbers = bits.view(np.float16).astype(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32(0.5))


float16s = arrays.arrays(np.uint16, (1, 1, 4, 5)).map(finite)


def full(number: float) -> np.ndarray:
    return np.full((1, 1, 4, 5), number, np.float32)


@examples(50)
@given(float16s, float16s, float16s)
@example(full(2048), full(1), full(1))
@example(full(1e-7), full(3e-8), full(3))
@example(full(65504), full(65504), full(1))
@example(full(1), full(2**-11), full(1 / 3))
def test_emulation_rounds_as_numpy_does(
    emulated: ort.InferenceSession, x: np.ndarray, k: np.ndarray, m: np.ndarray
) -> None:
    """Subnormal numbers and overflow included, bit by bit."""
    (found,) = emulated.run(None, {"x": x, "k": k, "m": m})
    half = [array.astype(np.float16) for array in (x, k, m)]
    with np.errstate(over="ignore", invalid="ignore"):
        product = ((half[0] + half[1]) * half[2]).transpose(0, 1, 3, 2)
        wanted = np.maximum(product, np.float16(0)) + np.float16(0.1)
    numbers = ~np.isnan(product)  # what ReLU makes of NaN is another matter
    np.testing.assert_array_equal(found[numbers], wanted[numbers].astype(np.float32))


CONTRACTS = pick(
    *("mask", "scores of a dynamic batch", "logits at the network's size", "letterbox", CLASSIFIER), size=SIZE
)


@pytest.fixture(scope="module", params=CONTRACTS)
def exported(request: pytest.FixtureRequest, checkpoint: Path, classifier: Path) -> Graph:
    """The small checkpoints behind a contract."""
    model = classifier if request.param == CLASSIFIER else checkpoint
    return segexport.export(model, **CONTRACTS[request.param])


@pytest.fixture(params=["nothing seen", "wide in the middle"])
def lowered(request: pytest.FixtureRequest, exported: Graph) -> Graph:
    """The same in FP16."""
    made = exported.copy()
    wide = ["segformer.stages.1.blocks.0.mlp.dwconv.dwconv", "segformer.stages.1.blocks.0.attention.v_proj"]
    seen = {} if request.param == "nothing seen" else dict.fromkeys(wide, 1e5)
    kept = to_fp16(made, {"preprocess": 131.0, **seen})
    assert set(seen) <= set(kept)
    assert bool(kept) == bool(seen)
    return made


@pytest.mark.bundle
class TestSegFormer:
    def test_it_is_strongly_typed(self, lowered: Graph) -> None:
        proto = proto_of(lowered)
        assert mixed(proto) == []
        declared = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
        found = types_of(proto)
        assert {name: found[name] for name in declared} == declared
        halves = [name for name in declared if declared[name] == onnx.TensorProto.FLOAT16]
        assert len(halves) > len(declared) / 2

    def test_the_contract_stays(self, exported: Graph, lowered: Graph) -> None:
        (before, after), kinds = (graph.model.graph for graph in (exported, lowered)), {"image", "mask", "classes"}
        for earlier, later in zip([*before.inputs, *before.outputs], [*after.inputs, *after.outputs], strict=True):
            assert (later.name, later.dtype, later.shape) == (earlier.name, earlier.dtype, earlier.shape)
            assert (later.dtype == FLOAT) == (later.name not in kinds)
        assert lowered.contract == exported.contract

    def test_pixels_stay_fp32_up_to_the_first_layer(self, lowered: Graph) -> None:
        first = next(node for node in lowered.model.graph if node.op_type == "Conv")
        assert first.outputs[0].dtype == HALF
        cast = first.inputs[0].producer()
        assert (cast.op_type, cast.outputs[0].dtype) == ("Cast", HALF)
        waiting, before = [cast.inputs[0]], set()
        while waiting:
            if (node := waiting.pop().producer()) is not None and node not in before:
                before.add(node)
                waiting += [value for value in node.inputs if value is not None]
        assert {node.outputs[0].dtype for node in before} == {FLOAT}
        assert {node.op_type for node in before} >= {"Cast", "Transpose", "Mul"}
        read = {value.name for node in before for value in node.inputs if value is not None}
        assert "image" in read

    def test_no_cast_is_made_twice_or_for_nothing(self, lowered: Graph) -> None:
        proto = proto_of(lowered)
        types = types_of(proto)
        found = casts(proto)
        assert max(found.values()) == 1
        assert all(types[name] != dtype for name, dtype in found)

    def test_softmax_stands_between_casts(self, lowered: Graph) -> None:
        found = [node for node in lowered.model.graph if node.op_type == "Softmax"]
        assert len(found) >= 4
        for node in found:
            assert node.inputs[0].producer().attributes["to"].as_int() == int(FLOAT)
            readers = [use.node for use in node.outputs[0].uses()]
            assert [(one.op_type, one.outputs[0].dtype) for one in readers] in (
                [("Cast", HALF)],
                [("ReduceMax", FLOAT)],
            )

    def test_emulated_it_computes_the_same_number_or_close(self, exported: Graph, lowered: Graph) -> None:
        """Random weights: a class may flip where two logits are close, so most of the pixels must agree."""
        emulated = lowered.copy()
        emulate_fp16(emulated)
        assert mixed(proto_of(emulated)) == []
        size = (2 if exported.contract.batch == DYNAMIC else 1, *exported.contract.image_size, 3)
        image = {"image": np.random.default_rng(0).integers(0, 256, size, np.uint8)}
        wanted, found = computed(exported, image), computed(emulated, image)
        if wanted.dtype == np.float32:
            assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
        else:
            assert np.mean(found == wanted) > 0.95
