"""Value and output projections merge where there is one head, and stay where there are more."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.merge_values import MergeValues
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

QUERIES, KEYS, SIZE = 12, 5, 4


def attention(
    *,
    heads: int = 1,
    batch: str = "1",
    output: str = "MatMul (o, wo)",
    ending: str = "Add (p, bo)",
    last: str = "Relu (zp)",
    out: int | None = None,
) -> Graph:
    """Attention with projected values, and the linear layer behind it."""
    channels = heads * SIZE
    out = channels if out is None else out
    signature = (
        f"(float[{batch},{QUERIES},{channels}] x, float[{batch},{KEYS},{channels}] y)"
        f" => (float[{batch},{QUERIES},{out}] z)"
    )
    body = f"""
        vm = MatMul (y, wv)
        v = Add (vm, bv)
        qr = Reshape (x, split)
        q = Transpose <perm=[0,2,1,3]> (qr)
        kr = Reshape (y, split)
        k = Transpose <perm=[0,2,3,1]> (kr)
        vr = Reshape (v, split)
        vt = Transpose <perm=[0,2,1,3]> (vr)
        s = MatMul (q, k)
        c = Mul (s, scale)
        a = Softmax <axis=-1> (c)
        r = MatMul (a, vt)
        t = Transpose <perm=[0,2,1,3]> (r)
        o = Reshape (t, join)
        p = {output}
        zp = {ending}
        z = {last}"""
    rng = np.random.default_rng(0)
    constants = {
        "wv": rng.normal(size=(channels, channels)),
        "bv": rng.normal(size=channels),
        "wo": rng.normal(size=(channels, out)),
        "bo": rng.normal(size=out),
        "scale": np.array(0.5),
        "split": np.array([0, -1, heads, SIZE]),
        "join": np.array([0, -1, channels]),
    }
    return graph_of(signature, body, constants)


def inputs(heads: int = 1, batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=(batch, QUERIES, heads * SIZE)), "y": rng.normal(size=(batch, KEYS, heads * SIZE))}


@pytest.mark.parametrize(("batch", "count"), [("1", 1), ("batch", 3)])
def test_one_head(batch: str, count: int) -> None:
    """Sums of a few terms around ten: float32 rounds them to about 1e-6 of that."""
    graph = attention(batch=batch)
    (before,) = outputs_of(graph, inputs(batch=count))
    result = apply(graph, MergeValues())
    assert (result.rewritten, result.declined) == (("a",), ())
    assert operators(graph).count("MatMul") == 3
    np.testing.assert_allclose(outputs_of(graph, inputs(batch=count))[0], before, atol=2e-5)


def test_again() -> None:
    graph = attention()
    apply(graph, MergeValues())
    assert_unchanged(graph, MergeValues())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"heads": 2}, "it has 2 heads"),
        ({"output": "Relu (o)", "ending": "Add (p, bo)"}, "no linear layer follows"),
        ({"out": 3}, "changes the channels"),
        ({"ending": "Relu (p)", "output": "MatMul (o, wo)", "last": "Relu (zp)"}, "has no bias"),
    ],
)
def test_declined(changed: dict[str, object], reason: str) -> None:
    graph = attention(**changed)  # type: ignore[arg-type]
    heads = int(str(changed.get("heads", 1)))
    assert_declined(graph, MergeValues(), reason, inputs(heads))
