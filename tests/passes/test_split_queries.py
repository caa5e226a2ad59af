"""One head taken for several computes the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.half_scores import HalfScores
from segexport.passes.split_queries import SplitQueries
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

KEYS, SIZE = 5, 8
HALF_SOFTMAX = "wide = Cast <to=1> (scaled) w = Softmax <axis=-1> (wide) wh = Cast <to=10> (w)"


def attention(
    *,
    queries: int = 12,
    heads: int = 1,
    batch: str = "1",
    softmax: str = "w = Softmax <axis=-1> (scaled)",
    weights: str = "w",
    extra: str = "",
    outputs: str = "",
    half: bool = False,
    late: bool = False,
) -> Graph:
    """Attention as the exporter writes it; `half` is as `to_fp16` leaves it, between casts."""
    channels = heads * SIZE
    signature = f"""(float[{batch},{queries},{channels}] x, float[{batch},{KEYS},{channels}] y)
        => (float[{batch},{queries},{channels}] z {outputs})"""
    q, k = ("xh", "yh") if half else ("x", "y")
    values = f"v = Relu ({k}) vr = Reshape (v, split) vt = Transpose <perm=[0,2,1,3]> (vr)"
    body = f"""
        {"xh = Cast <to=10> (x) yh = Cast <to=10> (y)" if half else ""}
        qr = Reshape ({q}, split)
        qt = Transpose <perm=[0,2,1,3]> (qr)
        kr = Reshape ({k}, split)
        kt = Transpose <perm=[0,2,3,1]> (kr)
        {"" if late else values}
        s = MatMul (qt, kt)
        scaled = Mul (s, factor)
        {HALF_SOFTMAX if half else softmax}
        {values if late else ""}
        p = MatMul ({"wh" if half else weights}, vt)
        t = Transpose <perm=[0,2,1,3]> (p)
        r = Reshape (t, join)
        z = {"Cast <to=1>" if half else "Identity"} (r)
        {extra}"""
    constants = {
        "factor": np.array(SIZE**-0.5),
        "split": np.array([0, -1, heads, SIZE]),
        "join": np.array([0, -1, channels]),
    }
    if half:
        constants["factor"] = constants["factor"].astype(np.float16)
    return graph_of(signature, body, constants)


def inputs(queries: int = 12, heads: int = 1, batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(batch, n, heads * SIZE)) for name, n in (("x", queries), ("y", KEYS))}


@pytest.mark.parametrize(("batch", "count"), [("1", 1), ("batch", 1), ("batch", 3)])
@pytest.mark.parametrize(("queries", "parts"), [(12, 2), (15, 3), (25, 5), (77, 7)])
def test_no_bit_changes(queries: int, parts: int, batch: str, count: int) -> None:
    graph = attention(queries=queries, batch=batch)
    given = inputs(queries, batch=count)
    (before,) = outputs_of(graph, given)
    result = apply(graph, SplitQueries())
    assert (result.rewritten, result.declined) == (("w",), ())
    np.testing.assert_array_equal(outputs_of(graph, given)[0], before)
    scores = next(node for node in graph.model.graph if node.op_type == "Softmax").inputs[0]
    assert list(scores.shape)[1:] == [parts, queries // parts, KEYS]
    assert operators(graph).count("Expand") == 2
    assert_unchanged(graph, SplitQueries())


def test_values_that_are_made_behind_the_scores() -> None:
    """What is written of them stands behind what it reads."""
    graph = attention(late=True)
    (before,) = outputs_of(graph, inputs())
    assert apply(graph, SplitQueries()).rewritten == ("w",)
    np.testing.assert_array_equal(outputs_of(graph, inputs())[0], before)


def test_between_the_casts_of_fp16() -> None:
    """What `to_fp16` leaves is recognised; ONNX Runtime computes it in FP16, rounding where that does."""
    graph = attention(half=True)
    (before,) = outputs_of(graph, inputs())
    assert apply(graph, SplitQueries()).rewritten == ("w",)
    np.testing.assert_array_equal(outputs_of(graph, inputs())[0], before)
    assert_unchanged(graph, SplitQueries())


def test_the_softmax_in_fp16() -> None:
    """The casts go, before or behind the split, and the numbers stay near: exponentials of FP16 scores in FP16."""
    for passes in ((HalfScores(), SplitQueries()), (SplitQueries(), HalfScores())):
        graph = attention(half=True)
        (before,) = outputs_of(graph, inputs())
        assert [apply(graph, one).rewritten for one in passes] == [("w",), ("w",)]
        assert operators(graph).count("Cast") == 3
        np.testing.assert_allclose(outputs_of(graph, inputs())[0], before, atol=5e-3)
        assert_unchanged(graph, HalfScores())


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"softmax": "wide = Cast <to=1> (scaled) w = Softmax <axis=-1> (wide)"}, "its scores are in FP32"),
        ({}, "its scores are in FP32"),
    ],
)
def test_a_softmax_that_is_not_between_fp16(what: dict, reason: str) -> None:
    assert_declined(attention(**what), HalfScores(), reason, inputs())


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"heads": 2}, "it has 2 heads"),
        ({"batch": "2"}, "it has 2 images"),
        ({"queries": 13}, "13 queries cannot be taken in equal parts"),
        ({"softmax": "w = Softmax <axis=2> (scaled)"}, "not over the keys"),
        ({"extra": "leak = Relu (s)", "outputs": f", float[1,1,12,{KEYS}] leak"}, "s has other readers"),
        ({"extra": "leak = Relu (p)", "outputs": f", float[1,1,12,{SIZE}] leak"}, "p has other readers"),
    ],
)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    given = inputs(what.get("queries", 12), what.get("heads", 1), int(what.get("batch", 1)))
    assert_declined(attention(**what), SplitQueries(), reason, given)


def test_a_softmax_of_classes_is_none_of_its_business() -> None:
    graph = graph_of("(float[1,4,2,2] x) => (float[1,4,2,2] y)", "y = Softmax <axis=1> (x)", {})
    for rewrite in (SplitQueries(), HalfScores()):
        result = apply(graph, rewrite)
        assert (result.rewritten, result.declined) == ((), ())
