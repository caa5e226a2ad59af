"""Moving planes to tokens and back with one transpose moves the same numbers to the same places."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.channels_last import ChannelsLast
from tests.support.handmade import apply, assert_unchanged, graph_of, operators, outputs_of

SHAPES = {"flat": np.array([0, 6, 20]), "plane": np.array([0, 6, 4, 5])}


def there_and_back(batch: str = "1", *, extra: str = "", outputs: str = "", **attributes: str) -> Graph:
    """Planes of 6 channels to tokens, and tokens to planes again."""
    perm = attributes.get("perm", "[0,2,1]")
    return graph_of(
        f"(float[{batch},6,4,5] x) => (float[{batch},6,4,5] y {outputs})",
        f"""
        f = Reshape (x, flat)
        t = Transpose <perm={perm}> (f)
        d = Add (t, t)
        c = Transpose <perm={perm}> (d)
        p = Reshape (c, plane)
        y = Identity (p)
        {extra}""",
        SHAPES,
    )


def planes(batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=(batch, 6, 4, 5))}


@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("3", 3), ("N", 1), ("N", 4)])
def test_every_bit_stays(dimension: str, count: int) -> None:
    graph = there_and_back(dimension)
    before = outputs_of(graph, planes(count))
    result = apply(graph, ChannelsLast())
    assert (result.rewritten, result.declined) == (("t", "c"), ())
    transposes = [node for node in graph.model.graph if node.op_type == "Transpose"]
    assert [list(node.attributes["perm"].value) for node in transposes] == [[0, 2, 3, 1], [0, 3, 1, 2]]
    assert operators(graph) == ["Transpose", "Reshape", "Add", "Reshape", "Transpose", "Identity"]
    np.testing.assert_array_equal(outputs_of(graph, planes(count)), before)
    np.testing.assert_array_equal(before[0], 2 * planes(count)["x"].astype(np.float32))
    assert_unchanged(graph, ChannelsLast())


def test_what_else_reads_the_flat_planes_keeps_them() -> None:
    """The reshaped planes, the transposed tokens and a second pair of planes have readers of their own."""
    extra = """
        leak = Identity (f)
        leak2 = Identity (c)
        p2 = Reshape (c, plane)
        leak3 = Identity (p2)"""
    outputs = ", float[1,6,20] leak, float[1,6,20] leak2, float[1,6,4,5] leak3"
    graph = there_and_back(extra=extra, outputs=outputs)
    before = outputs_of(graph, planes())
    result = apply(graph, ChannelsLast())
    assert result.rewritten == ("t", "c")
    for found, wanted in zip(outputs_of(graph, planes()), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert_unchanged(graph, ChannelsLast())


LEFT_ALONE = {
    "another permutation": graph_of(
        "(float[1,6,4,5] x) => (float[6,1,20] y)",
        "f = Reshape (x, flat)\nt = Transpose <perm=[1,0,2]> (f)\ny = Identity (t)",
        {"flat": SHAPES["flat"]},
    ),
    "planes that are cut another way": graph_of(
        "(float[1,6,4,5] x) => (float[1,10,12] y)",
        "f = Reshape (x, flat)\nt = Transpose <perm=[0,2,1]> (f)\ny = Identity (t)",
        {"flat": np.array([0, 12, 10])},
    ),
    "images that are mixed": graph_of(
        "(float[2,6,4,5] x) => (float[1,20,12] y)",
        "f = Reshape (x, flat)\nt = Transpose <perm=[0,2,1]> (f)\ny = Identity (t)",
        {"flat": np.array([1, 12, 20])},
    ),
    "a height that is open": graph_of(
        "(float[1,6,H,5] x) => (float[1,T,6] y)",
        "f = Reshape (x, flat)\nt = Transpose <perm=[0,2,1]> (f)\ny = Identity (t)",
        {"flat": np.array([0, 0, -1])},
    ),
    "tokens that are the output": graph_of(
        "(float[1,6,4,5] x) => (float[1,20,6] y)",
        "f = Reshape (x, flat)\ny = Transpose <perm=[0,2,1]> (f)",
        {"flat": SHAPES["flat"]},
    ),
    "planes that are the output": graph_of(
        "(float[1,20,6] x) => (float[1,6,4,5] y)",
        "c = Transpose <perm=[0,2,1]> (x)\ny = Reshape (c, plane)",
        {"plane": SHAPES["plane"]},
    ),
    "no planes at all": graph_of(
        "(float[1,20,6] x) => (float[1,6,20] y)", "c = Transpose <perm=[0,2,1]> (x)\ny = Identity (c)", {}
    ),
}


@pytest.mark.parametrize("what", LEFT_ALONE)
def test_what_it_leaves_alone(what: str) -> None:
    graph = LEFT_ALONE[what]
    value = graph.model.graph.inputs[0]
    assert value.shape is not None
    shape = [d if isinstance(d, int) else 4 for d in value.shape]
    inputs = {"x": np.random.default_rng(0).normal(size=shape)}
    before = outputs_of(graph, inputs)
    assert_unchanged(graph, ChannelsLast())
    np.testing.assert_array_equal(outputs_of(graph, inputs), before)
