"""The feed-forward block in planes computes what it computed in tokens."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.channels_last import ChannelsLast
from segexport.passes.pointwise_mlp import PointwiseMlp
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

HEIGHT, WIDTH, CHANNELS, WIDE = 4, 6, 5, 8
TOKENS = HEIGHT * WIDTH

GELU = """
    d = Div (a, root)
    e = Erf (d)
    one_more = Add (e, one)
    half_of = Mul (half, one_more)
    g = Mul (a, half_of)"""


def block(
    activation: str = GELU,
    *,
    batch: str = "1",
    conv: str = f"group={WIDE}, pads=[1,1,1,1], kernel_shape=[3,3]",
    swap: str = "0,2,1",
    planes: tuple[int, ...] = (0, WIDE, HEIGHT, WIDTH),
    flat: tuple[int, ...] = (0, WIDE, TOKENS),
    extra: str = "",
    outputs: str = "",
    reads: str = "g",
    second: str = "Add (m2, b2)",
    last: str = "Add (x, l2)",
) -> Graph:
    """Two linear layers, the depthwise convolution between them, and its changes of layout."""
    rng = np.random.default_rng(0)
    shape = f"float[{batch},{TOKENS},{CHANNELS}]"
    body = f"""
        m1 = MatMul (x, w1)
        l1 = Add (m1, b1)
        t1 = Transpose <perm=[{swap}]> (l1)
        p1 = Reshape (t1, planes)
        c = Conv <{conv}> (p1, k, kb)
        p2 = Reshape (c, flat)
        a = Transpose <perm=[0,2,1]> (p2)
        {activation}
        m2 = MatMul ({reads}, w2)
        l2 = {second}
        y = {last}
        {extra}"""
    constants = {
        "w1": rng.normal(size=(CHANNELS, WIDE)),
        "b1": rng.normal(size=WIDE),
        "planes": np.array(planes),
        "k": rng.normal(size=(planes[1], 1, 3, 3)) / 3,
        "kb": rng.normal(size=planes[1]),
        "flat": np.array(flat),
        "root": np.array(np.sqrt(2)),
        "one": np.array(1.0),
        "half": np.array(0.5),
        "each": rng.normal(size=WIDE),
        "w2": rng.normal(size=(WIDE, CHANNELS)),
        "b2": rng.normal(size=CHANNELS),
    }
    return graph_of(f"({shape} x) => ({shape} y{outputs})", body, constants)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(batch, TOKENS, CHANNELS))}


def assert_rewritten(graph: Graph, given: dict[str, np.ndarray]) -> None:
    """Results here are around 10, and every sum has at most 9 summands: float32 rounds them to a few 1e-6."""
    (before,) = outputs_of(graph, given)
    result = apply(graph, PointwiseMlp())
    assert (result.rewritten, result.declined) == (("c",), ())
    found = operators(graph)
    assert (found.count("Conv"), found.count("Transpose"), found.count("Reshape")) == (3, 2, 2)
    assert "MatMul" not in found
    assert (found[:2], found[-3:]) == (["Reshape", "Transpose"], ["Transpose", "Reshape", "Add"])
    np.testing.assert_allclose(outputs_of(graph, given)[0], before, atol=2e-5)


@pytest.mark.parametrize(
    "activation",
    [
        GELU,
        "g = com.microsoft.Gelu (a)",
        "g = Relu (a)",
        "s = Sigmoid (a) g = Mul (s, a)",
    ],
)
def test_the_outputs_stay(activation: str) -> None:
    assert_rewritten(block(activation), inputs())


def test_no_activation_at_all() -> None:
    assert_rewritten(block("", reads="a"), inputs())


def test_an_open_batch() -> None:
    assert_rewritten(block(batch="N"), inputs(3))


def test_a_bias_on_the_left() -> None:
    assert_rewritten(block(second="Add (b2, m2)"), inputs())


def test_it_is_channels_last_already() -> None:
    """Its changes of layout are those that `ChannelsLast` leaves."""
    graph = block()
    apply(graph, PointwiseMlp())
    assert_unchanged(graph, ChannelsLast())


TOKENS_WIDE = f"float[1,{TOKENS},{WIDE}]"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"extra": "leak = Relu (l1)", "outputs": f", {TOKENS_WIDE} leak"}, "l1 has other readers"),
        ({"extra": "leak = Relu (m1)", "outputs": f", {TOKENS_WIDE} leak"}, "m1 has other readers"),
        ({"extra": "leak = Softmax (e)", "outputs": f", {TOKENS_WIDE} leak"}, "not only a linear layer reads"),
        ({"outputs": f", {TOKENS_WIDE} a"}, "output of the graph"),
        ({"outputs": f", float[1,{WIDE},{HEIGHT},{WIDTH}] c"}, "c has other readers"),
        ({"activation": "s = Mul (a, each) g = Relu (s)"}, "mixes in other numbers"),
        ({"activation": "g = Softmax (a)"}, "not only a linear layer reads"),
        ({"second": "Add (m2, x)"}, "not a constant"),
        ({"second": "Identity (m2)"}, "has no bias"),
        ({"swap": "0,1,2"}, "not swapped"),
        ({"planes": (0, 2 * WIDE, 2, WIDTH), "conv": f"group={2 * WIDE}, pads=[1,1,1,1]"}, "not the planes' points"),
        ({"last": "Relu (l2)", "outputs": f", float[1,{TOKENS},{CHANNELS}] l2"}, "result is an output of the graph"),
    ],
)
def test_it_declines_with_a_reason(what: dict[str, object], reason: str) -> None:
    assert_declined(block(**what), PointwiseMlp(), reason, inputs())


def test_running_twice_changes_nothing_more() -> None:
    graph = block()
    apply(graph, PointwiseMlp())
    assert_unchanged(graph, PointwiseMlp())
