"""LayerNorm becomes RMSNorm where what it reads can be centred in the weights, and stays where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.center_norms import CenterNorms
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

HEIGHT, WIDTH, CHANNELS, HIDDEN = 3, 4, 6, 10
TOKENS = HEIGHT * WIDTH


def stage(
    *,
    batch: str = "1",
    conv: str = "Conv (x, k, c)",
    sum1: str = "Add (m1b, z)",
    last: str = "LayerNormalization <axis=-1, epsilon=0.00001> (s2, gamma, beta)",
    extra: str = "",
    outputs: str = "",
) -> Graph:
    """A stage in small: embedding, its norm, two residual blocks with a norm before each, and a norm at the end."""
    rng = np.random.default_rng(0)
    signature = f"(float[{batch},2,{HEIGHT},{WIDTH}] x) => (float[{batch},{TOKENS},{CHANNELS}] y{outputs})"
    body = f"""
        e = {conv}
        f = Reshape (e, flat)
        t = Transpose <perm=[0,2,1]> (f)
        z = LayerNormalization <axis=-1, epsilon=0.00001> (t, gamma, beta)
        n1 = LayerNormalization <axis=-1, epsilon=0.00001> (z, gamma2, beta)
        h1 = MatMul (n1, w)
        h1b = Add (h1, b)
        a1 = Relu (h1b)
        m1 = MatMul (a1, v)
        m1b = Add (m1, d)
        s1 = {sum1}
        n2 = LayerNormalization <axis=-1, epsilon=0.00001> (s1, gamma)
        h2 = MatMul (n2, w)
        h2b = Add (h2, b)
        a2 = Relu (h2b)
        m2 = MatMul (a2, v)
        m2b = Add (d, m2)
        s2 = Add (s1, m2b)
        yn = {last}
        y = Relu (yn)
        {extra}"""
    constants = {
        "k": rng.normal(size=(CHANNELS, 2, 1, 1)),
        "c": rng.normal(3, 1, CHANNELS),
        "w": rng.normal(size=(CHANNELS, HIDDEN)),
        "b": rng.normal(size=HIDDEN),
        "v": rng.normal(size=(HIDDEN, CHANNELS)),
        "d": rng.normal(2, 1, CHANNELS),
        "gamma": rng.uniform(0.5, 2, CHANNELS),
        "gamma2": rng.uniform(0.5, 2, CHANNELS),
        "beta": rng.normal(size=CHANNELS),
        "flat": np.array([-1, CHANNELS, TOKENS]),
        "two": np.array(2.0),
    }
    return graph_of(signature, body, constants)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(1, 2, (batch, 2, HEIGHT, WIDTH))}


@pytest.mark.parametrize(("batch", "count"), [("1", 1), ("batch", 3)])
def test_every_norm_of_a_stage(batch: str, count: int) -> None:
    """Outputs of a norm are of order one: float32 rounds sums of ten terms of that size to a few 1e-6."""
    graph = stage(batch=batch)
    (before,) = outputs_of(graph, inputs(count))
    result = apply(graph, CenterNorms())
    assert (result.rewritten, result.declined) == (("z", "n1", "n2", "yn"), ())
    assert "LayerNormalization" not in operators(graph)
    assert operators(graph).count("Sub") == 1, "the stream is centred once, where it begins"
    (after,) = outputs_of(graph, inputs(count))
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert_unchanged(graph, CenterNorms())


def test_a_convolution_without_bias() -> None:
    graph = stage(conv="Conv (x, k)")
    (before,) = outputs_of(graph, inputs())
    assert len(apply(graph, CenterNorms()).rewritten) == 4
    np.testing.assert_allclose(outputs_of(graph, inputs())[0], before, atol=2e-5)


def test_other_readers_keep_the_sum_as_it_is() -> None:
    """What reads a sum besides norms sees its mean: the stream stays, the embedding's norm is its own."""
    sums = f", float[1,{TOKENS},{CHANNELS}] r"
    graph = stage(extra="r = Relu (s1)", outputs=sums)
    before = outputs_of(graph, inputs())
    result = apply(graph, CenterNorms())
    assert result.rewritten == ("z",)
    assert [d.node for d in result.declined] == ["n1", "n2", "yn"]
    assert all("r reads the sum too" in d.reason for d in result.declined)
    for found, wanted in zip(outputs_of(graph, inputs()), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_what_reads_the_beginning_of_the_stream_keeps_reading_it() -> None:
    graph = stage(extra="r = Relu (z)", outputs=f", float[1,{TOKENS},{CHANNELS}] r")
    before = outputs_of(graph, inputs())
    assert len(apply(graph, CenterNorms()).rewritten) == 4
    for found, wanted in zip(outputs_of(graph, inputs()), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_layer_read_twice() -> None:
    graph = stage(sum1="Add (m1b, m1b)")
    before = outputs_of(graph, inputs())
    result = apply(graph, CenterNorms())
    assert [d.node for d in result.declined] == ["n2", "yn"]
    assert all("reads more than linear layers' outputs" in d.reason for d in result.declined)
    for found, wanted in zip(outputs_of(graph, inputs()), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        ("LayerNormalization <axis=-1> (q, gamma)", "reads more than linear layers' outputs"),
        ("LayerNormalization <axis=1> (q, wide)", "not over the channels"),
    ],
)
def test_declined(norm: str, reason: str) -> None:
    signature = f"(float[1,{TOKENS},{CHANNELS}] x) => (float[1,{TOKENS},{CHANNELS}] y)"
    rng = np.random.default_rng(0)
    constants = {"gamma": rng.uniform(0.5, 2, CHANNELS), "wide": rng.uniform(0.5, 2, (TOKENS, CHANNELS))}
    graph = graph_of(signature, f"q = Relu (x) n = {norm} y = Relu (n)", constants)
    assert_declined(graph, CenterNorms(), reason, {"x": rng.normal(size=(1, TOKENS, CHANNELS))})


def test_a_norm_that_is_an_output() -> None:
    signature = f"(float[1,{TOKENS},{CHANNELS}] x) => (float[1,{TOKENS},{CHANNELS}] y)"
    rng = np.random.default_rng(0)
    constants = {
        name: rng.normal(size=(CHANNELS, CHANNELS) if name == "w" else CHANNELS) for name in ("w", "b", "gamma")
    }
    graph = graph_of(
        signature, "m = MatMul (x, w) a = Add (m, b) y = LayerNormalization <axis=-1> (a, gamma)", constants
    )
    assert_declined(graph, CenterNorms(), "an output of the graph", {"x": rng.normal(size=(1, TOKENS, CHANNELS))})


def test_weights_computed_at_run_time() -> None:
    """A layer whose weights are no constants: nothing of the stream is touched."""
    signature = f"(float[1,{TOKENS},{CHANNELS}] x, float[{CHANNELS},{CHANNELS}] w) => (float[1,{TOKENS},{CHANNELS}] y)"
    rng = np.random.default_rng(0)
    constants = {"gamma": rng.uniform(0.5, 2, CHANNELS), "b": rng.normal(size=CHANNELS)}
    graph = graph_of(
        signature,
        "m = MatMul (x, w) a = Add (m, b) n = LayerNormalization <axis=-1> (a, gamma) y = Relu (n)",
        constants,
    )
    given = {"x": rng.normal(size=(1, TOKENS, CHANNELS)), "w": rng.normal(size=(CHANNELS, CHANNELS))}
    assert_declined(graph, CenterNorms(), "is not a constant", given)
