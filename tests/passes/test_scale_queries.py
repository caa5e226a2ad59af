"""Scaling the queries in their weights keeps what attention computes."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.scale_queries import ScaleQueries
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

TOKENS, KEYS, HEADS, SIZE = 6, 3, 2, 8
CHANNELS = HEADS * SIZE


def attention(
    scaling: str = "Mul (scores, scale)",
    *,
    scale: np.ndarray | float = SIZE**-0.5,
    batch: str = "1",
    first: str = "",
    extra: str = "",
    outputs: str = "",
    add: str = "Add (qm, bq)",
    heads: str = "Reshape (q, q_heads)",
) -> Graph:
    """Queries of 6 tokens in two heads, keys and values as they come."""
    rng = np.random.default_rng(0)
    signature = f"""(float[{batch},{TOKENS},{CHANNELS}] x, float[{batch},{HEADS},{SIZE},{KEYS}] k,
        float[{batch},{HEADS},{KEYS},{SIZE}] v) => (float[{batch},{HEADS},{TOKENS},{SIZE}] out {outputs})"""
    body = f"""
        {first}
        qm = MatMul (x, wq)
        q = {add}
        qr = {heads}
        qt = Transpose <perm=[0,2,1,3]> (qr)
        scores = MatMul (qt, k)
        scaled = {scaling}
        weights = Softmax <axis=-1> (scaled)
        out = MatMul (weights, v)
        {extra}"""
    constants = {
        "wq": rng.normal(size=(CHANNELS, CHANNELS)),
        "bq": rng.normal(size=CHANNELS),
        "q_heads": np.array([-1, TOKENS, HEADS, SIZE]),
        "scale": np.asarray(scale, np.float64),
    }
    return graph_of(signature, body, constants)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "x": rng.normal(size=(batch, TOKENS, CHANNELS)),
        "k": rng.normal(size=(batch, HEADS, SIZE, KEYS)),
        "v": rng.normal(size=(batch, HEADS, KEYS, SIZE)),
    }


@pytest.mark.parametrize(
    ("scaling", "scale"),
    [
        ("Mul (scores, scale)", SIZE**-0.5),
        ("Mul (scale, scores)", SIZE**-0.5),
        ("Div (scores, scale)", SIZE**0.5),
        ("Mul (scores, scale)", np.array([[0.3]])),
    ],
)
def test_the_outputs_stay(scaling: str, scale: np.ndarray | float) -> None:
    """Scores here reach about 10, and 8 summands of them round to a few 1e-6; softmax keeps such a difference."""
    graph = attention(scaling, scale=scale)
    (before,) = outputs_of(graph, inputs())
    result = apply(graph, ScaleQueries())
    assert (result.rewritten, result.declined) == (("weights",), ())
    assert "Mul" not in operators(graph)
    assert "Div" not in operators(graph)
    np.testing.assert_allclose(outputs_of(graph, inputs())[0], before, atol=1e-5)


def test_a_power_of_two_changes_no_bit() -> None:
    graph = attention(scale=0.25)
    (before,) = outputs_of(graph, inputs())
    assert apply(graph, ScaleQueries()).rewritten == ("weights",)
    np.testing.assert_array_equal(outputs_of(graph, inputs())[0], before)


def test_an_open_batch() -> None:
    graph = attention(batch="N")
    (before,) = outputs_of(graph, inputs(3))
    assert apply(graph, ScaleQueries()).rewritten == ("weights",)
    np.testing.assert_allclose(outputs_of(graph, inputs(3))[0], before, atol=1e-5)


SCORES = f"float[1,{HEADS},{TOKENS},{KEYS}]"
QUERIES = f"float[1,{TOKENS},{CHANNELS}]"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"extra": "leak = Relu (scaled)", "outputs": f", {SCORES} leak"}, "scaled has other readers"),
        ({"extra": "leak = Relu (scores)", "outputs": f", {SCORES} leak"}, "scores has other readers"),
        ({"extra": "leak = Relu (q)", "outputs": f", {QUERIES} leak"}, "q has other readers"),
        ({"extra": "leak = Relu (qm)", "outputs": f", {QUERIES} leak"}, "qm has other readers"),
        ({"scale": np.array([0.5, 0.25, 1.0])}, "not one number"),
        ({"scaling": "Div (scale, scores)"}, "divided by"),
        ({"scaling": "Mul (scores, scores)"}, "not a constant"),
        ({"first": "r = ReduceMax (k)", "scaling": "Mul (scores, r)"}, "not a constant"),
        ({"add": "Add (qm, x)"}, "not a constant"),
        ({"add": "Relu (qm)"}, "expected Add, found Relu"),
        ({"heads": "Reshape (qm, q_heads)"}, "expected Add, found MatMul"),
    ],
)
def test_it_declines_with_a_reason(what: dict[str, object], reason: str) -> None:
    assert_declined(attention(**what), ScaleQueries(), reason, inputs())


def test_a_softmax_of_classes_is_none_of_its_business() -> None:
    graph = graph_of("(float[1,4,2,2] x) => (float[1,4,2,2] y)", "s = Mul (x, x) y = Softmax <axis=1> (s)", {})
    result = apply(graph, ScaleQueries())
    assert (result.rewritten, result.declined) == ((), ())


def test_running_twice_changes_nothing_more() -> None:
    graph = attention()
    apply(graph, ScaleQueries())
    assert_unchanged(graph, ScaleQueries())
