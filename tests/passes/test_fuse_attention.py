"""ONNX Runtime's own attention is the one that was written out."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.fuse_attention import FuseAttention
from segexport.passes.fuse_gelu import MICROSOFT
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

TOKENS, KEYS, HEADS, SIZE = 12, 3, 2, 4
CHANNELS = HEADS * SIZE
SCALES = {
    "Mul": ("Mul (scores, scale)", SIZE**-0.5),
    "Div": ("Div (scores, scale)", SIZE**0.5),
    "of its own": ("Mul (scores, scale)", 0.3),
    "none": ("Identity (scores)", 1.0),
}
KEYS_TWICE = "kh = Transpose <perm=[0,2,1,3]> (kr)\nkt = Transpose <perm=[0,1,3,2]> (kh)"


def attention(
    scaled: str = SCALES["Mul"][0],
    *,
    scale: np.ndarray | float = SCALES["Mul"][1],
    batch: str = "1",
    queries: str = "qt = Transpose <perm=[0,2,1,3]> (qr)",
    keys: str = KEYS_TWICE,
    softmax: str = "Softmax <axis=-1> (scaled)",
    product: str = "MatMul (weights, vt)",
    together: str = "joined = Transpose <perm=[0,2,1,3]> (mixed)",
    result: str = "r = Reshape (joined, tokens)\ny = Identity (r)",
    outputs: str = "",
    **constants: np.ndarray,
) -> Graph:
    """12 queries in two heads of 4 channels, with 3 keys, as a stage with spatial reduction has them."""
    signature = f"""(float[{batch},{TOKENS},{CHANNELS}] q, float[{batch},{KEYS},{CHANNELS}] k,
        float[{batch},{KEYS},{CHANNELS}] v) => (float[{batch},{TOKENS},{CHANNELS}] y {outputs})"""
    body = f"""
        qr = Reshape (q, q_heads)
        kr = Reshape (k, k_heads)
        vr = Reshape (v, k_heads)
        {queries}
        {keys}
        vt = Transpose <perm=[0,2,1,3]> (vr)
        scores = MatMul (qt, kt)
        scaled = {scaled}
        weights = {softmax}
        mixed = {product}
        {together}
        {result}"""
    given = {
        "scale": np.asarray(scale, np.float64),
        "q_heads": np.array([0, TOKENS, HEADS, SIZE]),
        "k_heads": np.array([0, KEYS, HEADS, SIZE]),
        "tokens": np.array([0, TOKENS, CHANNELS]),
        **constants,
    }
    return graph_of(signature, body, {name: value for name, value in given.items() if name in body})


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"q": (batch, TOKENS, CHANNELS), "k": (batch, KEYS, CHANNELS), "v": (batch, KEYS, CHANNELS)}
    return {name: 2 * rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("scaling", SCALES)
@pytest.mark.parametrize("keys", [KEYS_TWICE, "kt = Transpose <perm=[0,2,3,1]> (kr)"], ids=["two transposes", "one"])
@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("2", 2), ("N", 3)])
def test_every_spelling(scaling: str, keys: str, dimension: str, count: int) -> None:
    """Within 1e-6 of values around 2: sums of 4 and of 3 products in another order."""
    operator, scale = SCALES[scaling]
    if scaling == "none":
        graph = attention(softmax="Softmax <axis=-1> (scores)", scaled="Identity (q)", keys=keys, batch=dimension)
    else:
        graph = attention(operator, scale=scale, keys=keys, batch=dimension)
    del graph.model.graph.opset_imports[MICROSOFT]
    (before,) = outputs_of(graph, inputs(count))
    result = apply(graph, FuseAttention())
    assert (result.rewritten, result.declined) == (("weights",), ())
    assert operators(graph) == ["MultiHeadAttention", "Identity"]
    (after,) = outputs_of(graph, inputs(count))
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    assert_unchanged(graph, FuseAttention())


def test_the_softmax_over_class_scores_is_none_of_its_business() -> None:
    graph = graph_of("(float[1,5] x) => (float[1,5] y)", "s = Softmax <axis=-1> (x)\ny = Identity (s)", {})
    assert_unchanged(graph, FuseAttention())
    assert graph.rewrites[-1].declined == ()


MASKED = {"mask": np.random.default_rng(1).normal(size=(TOKENS, KEYS))}
LEAK_SCORES = f", float[1,{HEADS},{TOKENS},{KEYS}] leak"
LEAK_HEADS = f", float[1,{HEADS},{TOKENS},{SIZE}] leak"
END = "r = Reshape (joined, tokens)\ny = Identity (r)\nleak = Identity "
REASONS = [
    ({"softmax": "Softmax <axis=2> (scaled)"}, "not over the keys"),
    ({"scale": np.full(KEYS, 0.5)}, "not one number"),
    ({"scaled": "Mul (scores, scores)"}, "not a constant"),
    ({"scaled": "Add (scores, mask)", **MASKED}, "expected MatMul, found Add"),
    ({"result": END + "(weights)", "outputs": LEAK_SCORES}, "other readers"),
    ({"result": END + "(scaled)", "outputs": LEAK_SCORES}, "other readers"),
    ({"result": END + "(scores)", "outputs": LEAK_SCORES}, "other readers"),
    ({"result": END + "(mixed)", "outputs": LEAK_HEADS}, "other readers"),
    ({"result": END + "(joined)", "outputs": f", float[1,{TOKENS},{HEADS},{SIZE}] leak"}, "other readers"),
    ({"result": END + "(qt)", "outputs": LEAK_HEADS}, "other readers"),
    (
        {"queries": "qs = Transpose <perm=[0,2,1,3]> (qr)\nqt = Mul (qs, scale)"},
        "not split into heads in the usual order",
    ),
    (
        {  # channels of a head lie apart: [size, heads] instead of [heads, size]
            "queries": "qt = Transpose <perm=[0,3,1,2]> (qr)",
            "q_heads": np.array([0, TOKENS, SIZE, HEADS]),
        },
        "not split into heads in the usual order",
    ),
    ({"together": "joined = Transpose <perm=[0,1,2,3]> (mixed)"}, "not put together by a transpose"),
    ({"together": "joined = Identity (mixed)"}, "not put together by a transpose"),
    ({"result": "r = Neg (joined)\ny = Reshape (r, tokens)"}, "not put together by a reshape"),
    ({"result": "r = Reshape (joined, halves)\ny = Reshape (r, tokens)", "halves": np.array([0, 24, 4])}, "shape"),
    ({"result": "y = Reshape (joined, tokens)"}, "output of the graph"),
]


@pytest.mark.parametrize(("what", "reason"), REASONS)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(attention(**what), FuseAttention(), reason, inputs())


def test_one_head_of_keys_for_all_queries_is_left_alone() -> None:
    """MatMul broadcasts it; the operator would not."""
    graph = graph_of(
        f"(float[1,{TOKENS},{CHANNELS}] q, float[1,{KEYS},{SIZE}] k) => (float[1,{TOKENS},{CHANNELS}] y)",
        """
        qr = Reshape (q, q_heads)
        kr = Reshape (k, k_heads)
        vr = Reshape (k, k_heads)
        qt = Transpose <perm=[0,2,1,3]> (qr)
        kt = Transpose <perm=[0,2,3,1]> (kr)
        vt = Transpose <perm=[0,2,1,3]> (vr)
        scores = MatMul (qt, kt)
        weights = Softmax <axis=-1> (scores)
        mixed = MatMul (weights, vt)
        joined = Transpose <perm=[0,2,1,3]> (mixed)
        r = Reshape (joined, tokens)
        y = Identity (r)""",
        {
            "q_heads": np.array([0, TOKENS, HEADS, SIZE]),
            "k_heads": np.array([0, KEYS, 1, SIZE]),
            "tokens": np.array([0, TOKENS, CHANNELS]),
        },
    )
    rng = np.random.default_rng(0)
    given = {"q": rng.normal(size=(1, TOKENS, CHANNELS)), "k": rng.normal(size=(1, KEYS, SIZE))}
    assert_declined(graph, FuseAttention(), "not as many heads", given)


def test_tokens_that_are_mixed_into_heads_are_left_alone() -> None:
    """The order of dimensions is right, but a head holds every second token, whole."""
    odd = {"q_heads": np.array([0, 2 * TOKENS, HEADS, SIZE // 2]), "k_heads": np.array([0, 2 * KEYS, HEADS, SIZE // 2])}
    assert_declined(attention(**odd), FuseAttention(), "split from more than the channels", inputs())
