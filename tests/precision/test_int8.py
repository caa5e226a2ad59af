"""INT8 as Q/DQ pairs: where they stand, how weights and activations are rounded, and what is left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import segexport
from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.precision.fp16 import to_fp16
from segexport.precision.int8 import FORMS, Form, to_int8
from segexport.precision.layers import layers
from segexport.precision.placement import Placement, default_placement
from segexport.precision.ranges import Ranges
from tests.support.checkpoints import SIZE
from tests.support.float_types import mixed
from tests.support.handmade import computed, modules, operators, outputs_of, proto_of
from tests.support.ranges import around, table

SIGNED, UNSIGNED = Form(unsigned=False), Form(unsigned=True)
RNG = np.random.default_rng(0)
_FRESH = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_for_each_test() -> None:
    """Whatever ran before: `-m` and `-k` must not change what a test computes with."""
    RNG.bit_generator.state = _FRESH


def convolution(weight: np.ndarray, **form: object) -> Graph:
    """One convolution of [1, C, 5, 6]."""
    channels = weight.shape[1] * int(form.get("group", 1))
    attributes = ", ".join(f"{name}={value}" for name, value in {"pads": "[1,1,1,1]", **form}.items())
    signature = f"(float[1,{channels},5,6] x) => (float[1,{weight.shape[0]},5,6] y)"
    return modules(signature, f"y = Conv <{attributes}> (x, w)", {"w": weight})


def linear(weight: np.ndarray, operator: str = "MatMul") -> Graph:
    """One linear layer of [7, C]."""
    rows, columns = weight.shape[::-1] if "transB" in operator else weight.shape
    return modules(f"(float[7,{rows}] x) => (float[7,{columns}] y)", f"y = {operator} (x, w)", {"w": weight})


GRAPHS = {
    "Conv": (convolution(RNG.normal(size=(3, 2, 3, 3))), 0),
    "depthwise": (convolution(RNG.normal(size=(4, 1, 3, 3)), group=4), 0),
    "MatMul": (linear(RNG.normal(size=(5, 3))), 1),
    "Gemm": (linear(RNG.normal(size=(5, 3)), "Gemm"), 1),
    "Gemm, transposed": (linear(RNG.normal(size=(3, 5)), "Gemm <transB=1>"), 0),
}


def all_of(graph: Graph) -> Placement:
    return Placement(tuple(layer.name for layer in layers(graph.model.graph)))


def quantised(graph: Graph, ranges: Ranges, form: Form = SIGNED, placement: Placement | None = None) -> Graph:
    """A copy in INT8."""
    made = graph.copy()
    to_int8(made, placement or all_of(graph), ranges, form)
    return made


def constant(value: ir.Value | None) -> np.ndarray:
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None
    return tensor.numpy()


def pairs(graph: Graph, op_type: str) -> list[ir.Node]:
    return [node for node in graph.model.graph if node.op_type == op_type]


def broadcast(scale: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    return scale.reshape([-1 if one == axis else 1 for one in range(dimensions)])


@pytest.mark.parametrize(
    ("case", "half"),
    [*((case, False) for case in GRAPHS), ("Conv", True), ("depthwise", True)],  # FP16 begins at a convolution
)
def test_every_pair_is_symmetric_int8(case: str, half: bool) -> None:
    """Zero points are written, since ONNX means uint8 without; scales are positive and of the type they scale."""
    graph, axis = GRAPHS[case][0].copy(), GRAPHS[case][1]
    original = constant(graph.model.graph[0].inputs[1])
    if half:
        to_fp16(graph, {})
    assert to_int8(graph, all_of(graph), table({"y": around(-2, 1.5)}), SIGNED) == ("y",)
    model = proto_of(graph)
    assert mixed(model) == []
    assert model.opset_import[0].version == (19 if half else 18)
    found = [*pairs(graph, "QuantizeLinear"), *pairs(graph, "DequantizeLinear")]
    assert len(found) == 3
    for node in found:
        _, scale, zero = node.inputs
        assert constant(zero).dtype == np.int8
        assert not constant(zero).any()
        assert constant(scale).dtype == (np.float16 if half else np.float32)
        assert (constant(scale) > 0).all()
    (weight,) = (node for node in found if node.inputs[0].is_initializer())
    integers, scale = constant(weight.inputs[0]), constant(weight.inputs[1])
    assert integers.dtype == np.int8
    assert scale.shape == (original.shape[axis],)
    assert weight.attributes["axis"].as_int() == axis
    steps = broadcast(scale.astype(np.float64), axis, original.ndim)
    assert (np.abs(integers * steps - original) <= steps * (0.52 if half else 0.5001)).all(), "half a step"
    assert (np.abs(integers).max(tuple(i for i in range(original.ndim) if i != axis)) == 127).all()


def rounded(numbers: np.ndarray, scale: float) -> np.ndarray:
    return np.clip(np.rint(numbers / np.float32(scale)), -128, 127) * np.float32(scale)


@pytest.mark.parametrize("case", ["Conv", "MatMul", "Gemm, transposed"])
def test_the_output_is_what_numpy_makes_of_it(case: str) -> None:
    graph, axis = GRAPHS[case]
    x = RNG.normal(size=[int(side) for side in graph.model.graph.inputs[0].shape]).astype(np.float32) * 1.5
    scale = 2.0 / 127
    weight = constant(graph.model.graph[0].inputs[1])
    others = tuple(one for one in range(weight.ndim) if one != axis)
    steps = broadcast(np.abs(weight).max(others) / 127, axis, weight.ndim)
    inner, kernel = rounded(x, scale), np.rint(weight / steps) * steps
    if case == "Conv":
        padded = np.pad(inner, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        wanted = np.einsum("nchwij,ocij->nohw", windows, kernel)
    else:
        wanted = inner @ (kernel.T if "transposed" in case else kernel)
    found = outputs_of(quantised(graph, table({"y": around(-2, 2)})), {"x": x})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    plain = outputs_of(graph, {"x": x})[0]
    assert 0.005 < np.abs(found - plain).max() < 10, "rounding and clipping are there"


@pytest.mark.parametrize("half", [False, True], ids=["FP32", "FP16"])
def test_tiny_and_empty_channels(half: bool) -> None:
    """Also where a scale in FP16 has but a few digits: it must not clip its channel."""
    weight = np.ones((6, 2, 1, 1)) * np.array([0, 1e-9, 1e-7, 1.1e-5, 1e-3, 1]).reshape(6, 1, 1, 1)
    weight[:, 1] *= -0.7
    graph = convolution(weight, pads="[0,0,0,0]")
    if half:
        to_fp16(graph, {})
    held = constant(next(node for node in graph.model.graph if node.op_type == "Conv").inputs[1]).astype(np.float64)
    made = quantised(graph, table({"y": around(-1, 1)}))
    (node,) = (one for one in pairs(made, "DequantizeLinear") if one.inputs[0].is_initializer())
    scale = constant(node.inputs[1]).astype(np.float64).reshape(6, 1, 1, 1)
    assert (scale > 0).all()
    error = np.abs(constant(node.inputs[0]) * scale - held)
    assert (error <= 0.501 * scale).all()
    assert (error <= np.maximum(0.01 * np.abs(held).max((1, 2, 3), keepdims=True), 3e-8 if half else 0)).all()
    x = np.ones((1, 2, 5, 6), np.float32)
    assert np.isfinite(computed(made, {"x": x})).all()


@given(
    arrays.arrays(np.float32, (4, 6), elements=st.floats(-1000, 1000, width=32)),
    st.sampled_from(["MatMul", "Gemm <transB=1>"]),
)
def test_weights_come_back_within_half_a_step(weight: np.ndarray, operator: str) -> None:
    graph = linear(weight, operator)
    made = quantised(graph, table({"y": around(-1, 1)}))
    (node,) = (one for one in pairs(made, "DequantizeLinear") if one.inputs[0].is_initializer())
    axis = node.attributes["axis"].as_int()
    steps = broadcast(constant(node.inputs[1]).astype(np.float64), axis, 2)
    back = constant(node.inputs[0]) * steps
    assert (np.abs(back - weight) <= 0.5001 * steps).all()
    assert (back[weight == 0] == 0).all()


@pytest.mark.parametrize("name", FORMS)
def test_weights_take_the_levels_of_their_form(name: str) -> None:
    """CPUs get 7 bits, whose products no instruction clips, and half a step is twice as much there."""
    weight = RNG.normal(size=(5, 3))
    made = quantised(linear(weight), table({"y": around(-1, 1)}), FORMS[name])
    (node,) = (one for one in pairs(made, "DequantizeLinear") if one.inputs[0].is_initializer())
    integers, scale = constant(node.inputs[0]), constant(node.inputs[1]).astype(np.float64)
    assert (np.abs(integers).max(0) == (127 if name == "tensorrt" else 63)).all()
    assert (np.abs(integers * scale - weight) <= 0.5001 * scale).all()


@pytest.mark.parametrize(
    ("low", "high", "limit"), [(-2.0, 1.0, None), (0.0, 3.0, None), (0.5, 3.0, None), (-5.0, 9.0, 2.0), (0.0, 0.0, 0.0)]
)
def test_the_unsigned_form_represents_zero(low: float, high: float, limit: float | None) -> None:
    """From where it clips on either side, zero included, in 255 steps; zero is one of them."""
    made = quantised(GRAPHS["MatMul"][0], table({"y": around(low, high, limit)}), UNSIGNED)
    (node,) = pairs(made, "QuantizeLinear")
    scale, zero = float(constant(node.inputs[1])), int(constant(node.inputs[2]))
    assert constant(node.inputs[2]).dtype == np.uint8
    reach = max(-low, high) if limit is None else limit
    lowest, highest = max(min(low, 0), -reach), min(max(high, 0), reach) or 1.0
    assert (0 - zero) * scale == pytest.approx(lowest, abs=0.51 * scale)
    assert (255 - zero) * scale == pytest.approx(highest, abs=0.51 * scale)
    np.testing.assert_array_equal(computed(made, {"x": np.zeros((7, 5), np.float32)}), 0)


BLOCK = """
    n = LayerNormalization <axis=-1> (x, gamma, beta)
    q = MatMul (n, wq)
    k = MatMul (n, wk)
    t = Transpose <perm=[0,2,1]> (n)
    p = Reshape (t, planes)
    r = Conv (p, wr)
    f = Reshape (r, tokens)
    s = MatMul (q, k_t)
    k_t = Transpose <perm=[0,2,1]> (k)
    a = Softmax (s)
    o = MatMul (a, k)
    l = MatMul (o, wl)
    sum = Add (x, l)
    u = Add (sum, f)
    y = MatMul (u, wy)"""


def attention() -> Graph:
    """A block: what a norm makes is read by two linear layers, and by a convolution through changes of layout."""
    lines = [line.strip() for line in BLOCK.strip().splitlines()]
    lines.insert(7, lines.pop(8))  # k_t before its reader
    constants = {
        **{name: RNG.normal(size=(4, 4)) / 2 for name in ("wq", "wk", "wl", "wy")},
        "wr": RNG.normal(size=(4, 4, 1, 1)) / 4,
        "gamma": np.ones(4),
        "beta": np.zeros(4),
        "planes": np.array([1, 4, 2, 3]),
        "tokens": np.array([1, 6, 4]),
    }
    return modules("(float[1,6,4] x) => (float[1,6,4] y)", " ".join(lines), constants)


BLOCK_RANGES = {name: around(-3, 3) for name in ("q", "k", "r", "l", "y")}


def sources(graph: Graph) -> Counter[str | None]:
    """How often each value is quantised."""
    return Counter(node.inputs[0].name for node in pairs(graph, "QuantizeLinear"))


def test_a_value_that_several_layers_read_is_quantised_once() -> None:
    graph = attention()
    made = quantised(graph, table(BLOCK_RANGES))
    assert sources(made) == {"n": 1, "o": 1, "u": 1}
    proto_of(made)
    readers = {use.node.op_type for use in pairs(made, "QuantizeLinear")[0].inputs[0].uses()}
    assert readers == {"QuantizeLinear"}, "the norm's result is read quantised alone"
    inputs = {"x": RNG.normal(size=(1, 6, 4))}
    plain = outputs_of(graph, inputs)[0]
    assert np.abs(outputs_of(made, inputs)[0] - plain).mean() < 0.05 * np.abs(plain).mean()


def test_the_widest_range_of_all_readers_counts() -> None:
    made = quantised(attention(), table({**BLOCK_RANGES, "k": around(-12.7, 1)}))
    node = next(one for one in pairs(made, "QuantizeLinear") if one.inputs[0].name == "n")
    assert float(constant(node.inputs[1])) == pytest.approx(0.1)


def test_other_readers_get_the_number_itself() -> None:
    made = quantised(attention(), table(BLOCK_RANGES), placement=Placement(("k", "r")))
    assert sources(made) == {"n": 1}
    by_name = {node.outputs[0].name: node for node in made.model.graph}
    assert by_name["q"].inputs[0].name == "n"
    assert by_name["k"].inputs[0].producer().op_type == "DequantizeLinear"
    assert by_name["t"].inputs[0].producer().op_type == "DequantizeLinear"


def test_below_a_change_of_layout_that_others_read() -> None:
    """Then the pair stands behind it, where only the layer reads."""
    body = "t = Transpose <perm=[1,0]> (x) a = MatMul (t, w) b = Relu (t) y = Add (a, b)"
    graph = modules("(float[4,6] x) => (float[6,4] y)", body, {"w": RNG.normal(size=(4, 4))})
    made = quantised(graph, table({"a": around(-1, 1)}))
    assert sources(made) == {"t": 1}
    assert {node.outputs[0].name: node for node in made.model.graph}["b"].inputs[0].name == "t"


def test_a_value_that_is_an_output_too() -> None:
    body = "n = Relu (x) t = Transpose <perm=[1,0]> (n) y = MatMul (t, w)"
    graph = modules("(float[4,6] x) => (float[6,4] y, float[6,4] t)", body, {"w": RNG.normal(size=(4, 4))})
    made = quantised(graph, table({"y": around(-0.5, 0.5)}))
    x = RNG.normal(size=(4, 6))
    np.testing.assert_array_equal(outputs_of(made, {"x": x})[1], np.maximum(x, 0).T.astype(np.float32))


def test_depthwise_is_left_out_for_tensorrt() -> None:
    graph = GRAPHS["depthwise"][0].copy()
    assert to_int8(graph, all_of(graph), table({}), FORMS["tensorrt"]) == ()
    assert operators(graph) == ["Conv"]
    assert to_int8(graph, all_of(graph), table({"y": around(-1, 1)}), FORMS["openvino"]) == ("y",)


def test_a_layer_without_a_range() -> None:
    graph = attention()
    with pytest.raises(PrecisionError, match=r"has no range of r: calibrate again with segexport calibrate"):
        to_int8(graph, all_of(graph), table({name: BLOCK_RANGES[name] for name in "qkly"}), SIGNED)


def test_weights_that_are_no_numbers() -> None:
    graph = linear(np.full((5, 3), np.nan))
    with pytest.raises(PrecisionError, match="15 of 15 numbers of w are NaN"):
        to_int8(graph, all_of(graph), table({"y": around(-1, 1)}), SIGNED)


@pytest.fixture(scope="module")
def segformer(checkpoint: Path) -> Graph:
    """The small checkpoint."""
    return segexport.export(checkpoint, size=SIZE)


def upwards(value: ir.Value, through: set[str]) -> ir.Node | None:
    """The first node above that is no `through`."""
    node = value.producer()
    while node is not None and node.op_type in through:
        node = node.inputs[0].producer()
    return node


@pytest.mark.bundle
@pytest.mark.parametrize("name", FORMS)
class TestSegFormer:
    @pytest.fixture
    def made(self, name: str, segformer: Graph) -> Graph:
        graph = segformer.copy()
        if name == "tensorrt":
            to_fp16(graph, {})
        found = {layer.name: around(-3, 3) for layer in layers(segformer.model.graph)}
        placement = default_placement(graph.model.graph)
        done = to_int8(graph, placement, table(found), FORMS[name])
        depthwise = {one.name for one in layers(segformer.model.graph) if one.kind == "depthwise"}
        assert set(done) == set(placement.int8) - (depthwise if name == "tensorrt" else set())
        assert len(depthwise) == 4
        return graph

    def test_it_is_valid(self, made: Graph, name: str) -> None:
        assert mixed(proto_of(made)) == []
        assert proto_of(made).opset_import[0].version == (19 if name == "tensorrt" else 18)

    def test_nothing_is_quantised_twice(self, made: Graph, name: str) -> None:
        assert max(sources(made).values()) == 1
        for node in pairs(made, "QuantizeLinear"):
            above = upwards(node.inputs[0], {"Reshape", "Transpose", "Cast"})
            assert above is not None
            assert above.op_type != "DequantizeLinear"

    def test_products_of_attention_stay(self, made: Graph, name: str) -> None:
        products = [node for node in pairs(made, "MatMul") if node.inputs[1].const_value is None]
        products = [node for node in products if node.inputs[1].producer().op_type != "DequantizeLinear"]
        assert len(products) == 8
        for node in products:
            for value in node.inputs:
                above = upwards(value, {"Reshape", "Transpose", "Cast"})
                assert above is not None
                assert above.op_type in ("Add", "Softmax", "Mul"), "of a projection's bias, or softmax"

    def test_residual_sums_stay(self, made: Graph, name: str) -> None:
        """What is added stays unrounded; of its sum only norms read."""
        sums = [node for node in pairs(made, "Add") if not any(value.is_initializer() for value in node.inputs)]
        assert len(sums) >= 8
        for node in sums:
            for value in node.inputs:
                above = upwards(value, {"Reshape", "Transpose", "Cast"})
                assert above is not None
                assert above.op_type != "DequantizeLinear"
            if node.name.startswith("segformer."):
                assert "QuantizeLinear" not in {use.node.op_type for use in node.outputs[0].uses()}


def test_attention_stays_whole_where_the_target_fuses_it() -> None:
    """The pair stands behind the moves that put the heads together, or before them for targets that do not mind."""
    body = """
        p = MatMul (a, b)
        t = Transpose <perm=[0,2,1,3]> (p)
        r = Reshape (t, join)
        y = MatMul (r, w)"""
    signature = "(float[1,2,6,5] a, float[1,2,5,4] b) => (float[1,6,3] y)"
    graph = modules(signature, body, {"join": np.array([0, -1, 8]), "w": RNG.normal(size=(8, 3))})
    ranges = table({"y": around(-4, 4)})
    read = {}
    for form in (SIGNED, FORMS["tensorrt"]):
        (pair,) = pairs(quantised(graph, ranges, form), "QuantizeLinear")
        read[form] = pair.inputs[0].producer().op_type
    assert read == {SIGNED: "MatMul", FORMS["tensorrt"]: "Reshape"}
