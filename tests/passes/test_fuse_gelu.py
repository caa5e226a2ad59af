"""ONNX Runtime's own GELU is the one that was written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.fuse_gelu import MICROSOFT, FuseGelu
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

NUMBERS = {"root": np.float64(math.sqrt(2)), "inverse": np.float64(math.sqrt(0.5)), "half": np.float64(0.5)}
SCALED = {"Div": "Div (x, root)", "Mul": "Mul (x, inverse)"}
ENDINGS = {
    "x * (0.5 * (1 + erf))": "m = Mul (half, a)\ng = Mul (x, m)",
    "(x * (1 + erf)) * 0.5": "m = Mul (x, a)\ng = Mul (m, half)",
    "(x * 0.5) * (1 + erf)": "m = Mul (x, half)\ng = Mul (m, a)",
    "(1 + erf) * (0.5 * x)": "m = Mul (half, x)\ng = Mul (a, m)",
}


def gelu(
    scaled: str = SCALED["Div"],
    ending: str = ENDINGS["x * (0.5 * (1 + erf))"],
    *,
    add: str = "Add (e, one)",
    batch: str = "1",
    result: str = "y = Identity (g)",
    outputs: str = "",
    **constants: np.ndarray | np.float64,
) -> Graph:
    numbers = {**NUMBERS, "one": np.float64(1), **constants}
    body = f"""
        s = {scaled}
        e = Erf (s)
        a = {add}
        {ending}
        {result}"""
    used = {name: np.asarray(value) for name, value in numbers.items() if name in body}
    return graph_of(f"(float[{batch},7,30] x) => (float[{batch},7,30] y {outputs})", body, used)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    """From where GELU is next to nothing to where it is x."""
    return {"x": np.linspace(-6, 6, batch * 7 * 30).reshape(batch, 7, 30)}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("scaled", SCALED)
@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("N", 3)])
def test_every_spelling(scaled: str, ending: str, dimension: str, count: int) -> None:
    """Within 1e-6: a few roundings of values up to 6, and the approximation of erf."""
    graph = gelu(SCALED[scaled], ENDINGS[ending], batch=dimension)
    del graph.model.graph.opset_imports[MICROSOFT]
    (before,) = outputs_of(graph, inputs(count))
    result = apply(graph, FuseGelu())
    assert (result.rewritten, result.declined) == (("e",), ())
    assert operators(graph) == ["Gelu", "Identity"]
    (after,) = outputs_of(graph, inputs(count))
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)
    assert np.ptp(after) > 5
    assert_unchanged(graph, FuseGelu())


def test_numbers_in_any_shape_of_one_element() -> None:
    graph = gelu(root=np.full((1, 1), math.sqrt(2)), half=np.full((1,), 0.5), one=np.full((1, 1, 1), 1.0))
    (before,) = outputs_of(graph, inputs())
    assert apply(graph, FuseGelu()).rewritten == ("e",)
    np.testing.assert_allclose(outputs_of(graph, inputs())[0], before, rtol=1e-6, atol=1e-6)


LEAK = {"outputs": ", float[1,7,30] leak"}
REASONS = [
    ({"scaled": "Identity (x)"}, "input is not scaled"),
    ({"scaled": "Div (x, half)"}, "not of x / √2"),
    ({"scaled": "Mul (x, root)"}, "not of x / √2"),
    ({"scaled": "Div (x, zero)", "zero": np.float64(0)}, "not of x / √2"),
    ({"scaled": "Div (x, x)"}, "is not a constant"),
    ({"root": np.full(30, math.sqrt(2))}, "not one number"),
    ({"add": "Add (e, half)"}, "1 is not added"),
    ({"add": "Sub (e, one)"}, "1 is not added"),
    ({"add": "Add (e, e)"}, "other readers"),
    ({"ending": "m = Mul (root, a)\ng = Mul (x, m)"}, "multiplied by something else"),
    ({"ending": "m = Mul (half, a)\ng = Mul (s, m)"}, "multiplied by something else"),
    ({"ending": "m = Mul (half, a)\ng = Mul (half, m)"}, "multiplied by something else"),
    ({"ending": "m = Mul (x, root)\ng = Mul (m, a)"}, "multiplied by something else"),
    ({"ending": "m = Mul (x, a)\ng = Mul (x, m)"}, "multiplied by something else"),
    ({"ending": "h = Mul (x, half)\nm = Mul (a, half)\ng = Mul (m, h)"}, "multiplied by something else"),
    ({"ending": "h = Mul (x, half)\nm = Mul (a, x)\ng = Mul (m, h)"}, "multiplied by something else"),
    ({"ending": "m = Mul (x, a)\ng = Div (m, half)"}, "not multiplied by x and 1/2"),
    ({"result": "y = Identity (g)\nleak = Identity (a)", **LEAK}, "other readers"),
    ({"result": "y = Identity (g)\nleak = Identity (e)", **LEAK}, "other readers"),
    ({"result": "y = Identity (g)\nleak = Identity (m)", **LEAK}, "other readers"),
    ({"ending": "m = Mul (half, a)\ny = Mul (x, m)", "result": ""}, "output of the graph"),
]


@pytest.mark.parametrize(("what", "reason"), REASONS)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(gelu(**what), FuseGelu(), reason, inputs())
