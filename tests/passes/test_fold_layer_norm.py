"""Folding a LayerNorm's affine part into what reads it keeps the outputs, or is declined where a reader cannot."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from segexport.graph.graph import Graph
from segexport.passes.fold_layer_norm import FoldLayerNorm
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, outputs_of

HEIGHT, WIDTH, CHANNELS, OUT = 4, 6, 5, 7
TOKENS = HEIGHT * WIDTH
TOKENS_OUT = f"float[1,{TOKENS},{OUT}]"


def block(
    *,
    batch: str = "1",
    first: str = "",
    norm: str = "LayerNormalization <axis=-1, epsilon=0.00001> (x, gamma, beta)",
    kernel: tuple[int, ...] = (OUT, CHANNELS, 2, 2),
    conv: str = "strides=[2,2], pads=[0,0,0,0], kernel_shape=[2,2]",
    conv_bias: str = ", c",
    to_planes: str = "Transpose <perm=[0,2,1]> (n)",
    planes: tuple[int, ...] = (-1, CHANNELS, HEIGHT, WIDTH),
    add: str = "Add (m, b)",
    extra: str = "",
    outputs: str = "",
) -> Graph:
    """A LayerNorm read by a linear layer and, as planes, by a spatial-reduction convolution."""
    rng = np.random.default_rng(0)
    reduced = f"float[{batch},{kernel[0]},h,w]"
    signature = f"(float[{batch},{TOKENS},{CHANNELS}] x) => (float[{batch},{TOKENS},{OUT}] y, {reduced} z{outputs})"
    body = f"""
        {first}
        n = {norm}
        m = MatMul (n, w)
        y = {add}
        t = {to_planes}
        p = Reshape (t, planes)
        z = Conv <{conv}> (p, k{conv_bias})
        {extra}"""
    constants = {
        "gamma": rng.uniform(0.5, 2, CHANNELS),
        "beta": rng.normal(size=CHANNELS),
        "w": rng.normal(size=(CHANNELS, OUT)),
        "b": rng.normal(size=OUT),
        "whole": rng.uniform(0.5, 2, (TOKENS, CHANNELS)),
        "square": rng.normal(size=(TOKENS, TOKENS)),
        "k": rng.normal(size=kernel),
        "c": rng.normal(size=OUT),
        "planes": np.array(planes),
        "same": np.array([-1, TOKENS, CHANNELS]),
    }
    return graph_of(signature, body, constants)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(1, 2, (batch, TOKENS, CHANNELS))}


def assert_folded(graph: Graph, given: dict[str, np.ndarray]) -> None:
    """Sums here have up to 20 summands around 1, so that float32 rounds them to a few 1e-6."""
    before = outputs_of(graph, given)
    result = apply(graph, FoldLayerNorm())
    assert (result.rewritten, result.declined) == (("n",), ())
    (norm,) = [node for node in graph.model.graph if node.op_type == "LayerNormalization"]
    assert len(norm.inputs) == 2
    weight = ir.convenience.get_const_tensor(norm.inputs[1])
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.ones(CHANNELS, np.float32))
    for found, wanted in zip(outputs_of(graph, given), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"add": "Add (b, m)"},
        {"conv_bias": ""},
        {"norm": "LayerNormalization <axis=2> (x, gamma)"},
        {"conv": 'strides=[2,2], auto_pad="VALID"'},
        # Every point of an unpadded convolution sums over the whole kernel, whatever the stride.
        {"kernel": (OUT, CHANNELS, 3, 3), "conv": "strides=[1,1], kernel_shape=[3,3]"},
    ],
)
def test_the_outputs_stay(what: dict[str, object]) -> None:
    assert_folded(block(**what), inputs())


def test_an_open_batch() -> None:
    assert_folded(block(batch="N"), inputs(3))


def test_planes_by_a_four_dimensional_transpose() -> None:
    """The last stage's norm: tokens -> Reshape [N, H, W, C] -> Transpose, and a 1x1 convolution of the folded head."""
    rng = np.random.default_rng(2)
    body = """
        n = LayerNormalization <axis=-1> (x, gamma, beta)
        r = Reshape (n, last)
        p = Transpose <perm=[0,3,1,2]> (r)
        z = Conv (p, k)"""
    constants = {
        "gamma": rng.uniform(0.5, 2, CHANNELS),
        "beta": rng.normal(size=CHANNELS),
        "last": np.array([1, HEIGHT, WIDTH, CHANNELS]),
        "k": rng.normal(size=(OUT, CHANNELS, 1, 1)),
    }
    shapes = f"(float[1,{TOKENS},{CHANNELS}] x) => (float[1,{OUT},{HEIGHT},{WIDTH}] z)"
    assert_folded(graph_of(shapes, body, constants), inputs())


NORMED = f", float[1,{TOKENS},{CHANNELS}] leak"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"extra": "leak = Add (n, x)", "outputs": NORMED}, "Add leak reads it too"),
        ({"outputs": f", float[1,{TOKENS},{CHANNELS}] n"}, "output of the graph"),
        ({"kernel": (OUT, CHANNELS, 3, 3), "conv": "strides=[2,2], pads=[1,1,1,1]"}, "pads with zeros"),
        ({"conv": 'strides=[2,2], auto_pad="SAME_UPPER"'}, "pads with zeros"),
        ({"kernel": (OUT * CHANNELS, 1, 2, 2), "conv": "group=5", "conv_bias": ""}, "grouped"),
        ({"planes": (-1, 2 * CHANNELS, 2, WIDTH), "kernel": (OUT, 2 * CHANNELS, 2, 2)}, "mixes channels"),
        (
            {
                "to_planes": "Reshape (n, same)",
                "planes": (-1, TOKENS, 1, CHANNELS),
                "kernel": (OUT, TOKENS, 1, 1),
                "conv": "group=1",
            },
            "z does not multiply its channels",
        ),
        (
            {"extra": "leak = MatMul (t, square)", "outputs": f", float[1,{CHANNELS},{TOKENS}] leak"},
            "leak does not multiply its channels",
        ),
        ({"add": "Identity (m)"}, "m has no bias"),
        ({"add": "Add (m, m)"}, "m has other readers"),
        ({"extra": "leak = Relu (m)", "outputs": f", {TOKENS_OUT} leak"}, "m has other readers"),
        ({"extra": "leak = MatMul (square, n)", "outputs": NORMED}, "MatMul leak reads it too"),
        ({"norm": "LayerNormalization <axis=1> (x, whole)"}, "not over the last dimension alone"),
        ({"first": "g = Relu (gamma)", "norm": "LayerNormalization <axis=-1> (x, g)"}, "not a constant"),
    ],
)
def test_it_declines_with_a_reason(what: dict[str, object], reason: str) -> None:
    assert_declined(block(**what), FoldLayerNorm(), reason, inputs())


def test_running_twice_changes_nothing_more() -> None:
    graph = block()
    apply(graph, FoldLayerNorm())
    assert_unchanged(graph, FoldLayerNorm())
