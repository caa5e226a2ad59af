"""A sum of upsampled planes is the same sum, made of gathers."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.sum_upsampled import SumUpsampled
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

SIDES = {"x": (2, 3), "y": (4, 5), "z": (8, 10)}
SIZE = (16, 21)
UP = 'Resize <mode="linear", coordinate_transformation_mode="half_pixel">'


def head(
    *,
    batch: str = "1",
    second: str = UP,
    sums: str = "xy = Add (xu, yu) xyz = Add (xy, zu) total = Add (xyz, w)",
    extra: str = "",
    outputs: str = "",
    half: bool = False,
) -> Graph:
    """Three planes at their own sizes, and a fourth at the full one, as the folded decode head sums them."""
    given = ", ".join(f"float[{batch},3,{h},{w}] {name}" for name, (h, w) in {**SIDES, "w": SIZE}.items())
    cast = "".join(f"{name}h = Cast <to=10> ({name})\n" for name in (*SIDES, "w"))
    body = f"""
        {cast if half else ""}
        {"start = Shape <start=0, end=2> (x) sizes = Concat <axis=0> (start, size)" if batch == "N" else ""}
        xu = {UP} ({"xh" if half else "x"}, , , sizes)
        yu = {second} ({"yh" if half else "y"}, , , sizes)
        zu = {UP} ({"zh" if half else "z"}, , , sizes)
        {sums.replace("w)", "wh)") if half else sums}
        out = {"Cast <to=1>" if half else "Relu"} (total)
        {extra}"""
    size = {"size": np.array(SIZE)} if batch == "N" else {"sizes": np.array([int(batch), 3, *SIZE])}
    return graph_of(f"({given}) => (float[{batch},3,{SIZE[0]},{SIZE[1]}] out {outputs})", body, size)


def inputs(batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(batch, 3, *side)) for name, side in {**SIDES, "w": SIZE}.items()}


@pytest.mark.parametrize(("batch", "count"), [("1", 1), ("2", 2), ("N", 3)])
@pytest.mark.parametrize(
    ("sums", "names"),
    [
        ("xy = Add (xu, yu) xyz = Add (xy, zu) total = Add (xyz, w)", ("xyz",)),
        ("wz = Add (w, zu) xy = Add (xu, yu) total = Add (wz, xy)", ("xy",)),
        ("yz = Add (yu, zu) xyz = Add (xu, yz) total = Identity (xyz)", ("xyz",)),
    ],
)
def test_the_sum_stays(sums: str, names: tuple[str, ...], batch: str, count: int) -> None:
    """ONNX Runtime computes coordinates up to 10 otherwise: float32 rounds them to 1e-6, times slopes of a few."""
    graph = head(sums=sums, batch=batch)
    (before,) = outputs_of(graph, inputs(count))
    result = apply(graph, SumUpsampled())
    assert (result.rewritten, result.declined) == (names, ())
    assert operators(graph).count("Resize") == (1 if names == ("xy",) else 0)
    np.testing.assert_allclose(outputs_of(graph, inputs(count))[0], before, atol=1e-5)
    assert_unchanged(graph, SumUpsampled())


def test_in_fp16_the_sum_is_taken_in_fp32() -> None:
    """And rounded once: half a unit of its last place (values below 8 have 2^-8), and of the FP16 sum behind it."""
    graph = head(half=True)
    rounded = {name: value.astype(np.float16) for name, value in inputs().items()}
    (wanted,) = outputs_of(head(), rounded)
    assert apply(graph, SumUpsampled()).rewritten == ("xyz",)
    (found,) = outputs_of(graph, rounded)
    assert np.abs(wanted).max() < 8
    assert np.abs(np.maximum(found, 0) - wanted).max() <= 2**-8


def test_a_sum_that_is_an_output() -> None:
    graph = graph_of(
        "(float[1,3,2,3] x, float[1,3,4,5] y) => (float[1,3,16,21] out)",
        f"xu = {UP} (x, , , sizes) yu = {UP} (y, , , sizes) out = Add (xu, yu)",
        {"sizes": np.array([1, 3, *SIZE])},
    )
    given = {name: inputs()[name] for name in ("x", "y")}
    assert_declined(graph, SumUpsampled(), "it is an output", given)


PLANES = f"float[1,3,{SIZE[0]},{SIZE[1]}] leak"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"second": 'Resize <mode="nearest">'}, "not bilinear"),
        ({"second": 'Resize <mode="linear", coordinate_transformation_mode="align_corners">'}, "align_corners"),
        ({"extra": "leak = Relu (yu)", "outputs": f", {PLANES}"}, "yu has other readers"),
        ({"extra": "leak = Relu (xy)", "outputs": f", {PLANES}"}, "xy has other readers"),
    ],
)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(head(**what), SumUpsampled(), reason, inputs())


def test_other_sums_are_none_of_its_business() -> None:
    graph = head(sums="a = Add (xu, w) b = Add (yu, w) c = Add (a, b) total = Add (c, zu)")
    result = apply(graph, SumUpsampled())
    assert (result.rewritten, result.declined) == ((), ())
