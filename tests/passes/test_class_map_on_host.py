"""Logits and the compiled class map behind them are what Resize and ArgMax were in the graph."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from segexport import native
from segexport.graph.graph import Graph
from segexport.passes.class_map_on_host import ClassMapOnHost
from segexport.spec import LOGITS
from tests.passes.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

COMPILED = pytest.mark.skipif(not native.available(), reason=native.MISSING)
CLASSES, GRID, SIZE = 5, (6, 7), (24, 28)
HALF_PIXEL = 'mode="linear", coordinate_transformation_mode="half_pixel"'


def ending(
    *,
    resize: str = f"Resize <{HALF_PIXEL}> (n, , , sizes)",
    argmax: str = "ArgMax <axis=1, keepdims=0> (u)",
    cast: str = "Cast <to=2> (w)",
    batch: str = "1",
    size: tuple[int, int] = SIZE,
    extra: str = "",
    outputs: str = "",
    output: str = "mask",
) -> Graph:
    """A network of one operator, and what makes a class map of its logits."""
    body = f"""
        n = Neg (x)
        {"start = Shape <start=0, end=2> (n)" if batch == "N" else ""}
        {"sizes = Concat <axis=0> (start, size)" if batch == "N" else ""}
        u = {resize}
        w = {argmax}
        mask = {cast}
        {extra}"""
    constants = {"size": np.array(size)} if batch == "N" else {"sizes": np.array([int(batch), CLASSES, *size])}
    signature = f"""(float[{batch},{CLASSES},{GRID[0]},{GRID[1]}] x)
        => (uint8[{batch},{size[0]},{size[1]}] mask {outputs})"""
    used = {name: value for name, value in constants.items() if name in body}
    graph = graph_of(signature, body, used)
    graph.contract = dataclasses.replace(graph.contract, output=output, mask_size=size)
    return graph


def features(batch: int = 1) -> dict[str, np.ndarray]:
    """Whole numbers, of which float32 rounds nothing at a factor of four; every third pixel is a tie."""
    return {"x": np.random.default_rng(0).integers(-3, 4, (batch, CLASSES, *GRID)).astype(np.float64)}


@COMPILED
@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("2", 2), ("N", 3)])
def test_the_class_map_is_the_same(dimension: str, count: int) -> None:
    graph = ending(batch=dimension)
    (before,) = outputs_of(graph, features(count))
    result = apply(graph, ClassMapOnHost())
    assert (result.rewritten, result.declined) == (("w",), ())
    assert operators(graph) == ["Neg", "Transpose"]
    assert [value.name for value in graph.model.graph.outputs] == [LOGITS]
    (logits,) = outputs_of(graph, features(count))
    assert logits.shape == (count, *GRID, CLASSES)
    np.testing.assert_array_equal(native.class_map(logits, SIZE, 2), before)
    assert len(np.unique(before)) == CLASSES
    assert_unchanged(graph, ClassMapOnHost())


@COMPILED
def test_a_mask_of_the_networks_size() -> None:
    graph = ending(resize="Identity (n)", argmax="ArgMax <axis=1, keepdims=0> (n)", size=GRID)
    (before,) = outputs_of(graph, features())
    assert apply(graph, ClassMapOnHost()).rewritten == ("w",)
    (logits,) = outputs_of(graph, features())
    np.testing.assert_array_equal(native.class_map(logits, GRID, 1), before)


@COMPILED
@pytest.mark.parametrize("size", [(31, 25), (5, 3)])
def test_a_factor_that_is_no_whole_number(size: tuple[int, int]) -> None:
    graph = ending(size=size)
    inputs = {"x": np.random.default_rng(1).normal(size=(1, CLASSES, *GRID))}
    (before,) = outputs_of(graph, inputs)
    apply(graph, ClassMapOnHost())
    (logits,) = outputs_of(graph, inputs)
    np.testing.assert_array_equal(native.class_map(logits, size, 2), before)


PLANES = f"float[1,{CLASSES},{SIZE[0]},{SIZE[1]}] leak"
REASONS = [
    ({"output": "logits"}, "the contract asks for logits"),
    ({"output": "scores"}, "the contract asks for scores"),
    ({"argmax": "ArgMin <axis=1, keepdims=0> (u)"}, "expected ArgMax, found ArgMin"),
    ({"argmax": "ArgMax <axis=1, keepdims=0, select_last_index=1> (u)"}, "highest id"),
    ({"resize": 'Resize <mode="nearest"> (n, , , sizes)'}, "not bilinear"),
    ({"resize": 'Resize <mode="cubic"> (n, , , sizes)'}, "not bilinear"),
    (
        {"resize": 'Resize <mode="linear", coordinate_transformation_mode="align_corners"> (n, , , sizes)'},
        "samples at align_corners",
    ),
    (  # which is another pixel where the map has one row
        {"resize": 'Resize <mode="linear", coordinate_transformation_mode="pytorch_half_pixel"> (n, , , sizes)'},
        "samples at pytorch_half_pixel",
    ),
    ({"resize": f"Resize <{HALF_PIXEL}, antialias=1> (n, , , sizes)"}, "antialiased"),
    ({"outputs": ", " + PLANES, "extra": "leak = Identity (u)"}, "other readers"),
    (
        {"outputs": f", int64[1,{SIZE[0]},{SIZE[1]}] leak", "extra": "leak = Identity (w)"},
        "other readers",
    ),
]


@COMPILED
@pytest.mark.parametrize(("what", "reason"), REASONS)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(ending(**what), ClassMapOnHost(), reason, features())


@COMPILED
def test_a_mask_that_is_no_cast_is_left_alone() -> None:
    graph = graph_of(f"(float[1,{CLASSES},6,7] x) => (int64[1,6,7] mask)", "mask = ArgMax <axis=1, keepdims=0> (x)", {})
    graph.contract = dataclasses.replace(graph.contract, output="mask", mask_size=GRID)
    assert_declined(graph, ClassMapOnHost(), "not the cast of an argmax", features())


@COMPILED
def test_logits_that_are_no_planes_are_left_alone() -> None:
    graph = graph_of(
        f"(float[1,{CLASSES},42] x) => (uint8[1,42] mask)",
        "w = ArgMax <axis=1, keepdims=0> (x)\nmask = Cast <to=2> (w)",
        {},
    )
    graph.contract = dataclasses.replace(graph.contract, output="mask", mask_size=GRID)
    flat = {"x": features()["x"].reshape(1, CLASSES, 42)}
    assert_declined(graph, ClassMapOnHost(), "no planes", flat)


@COMPILED
def test_an_argmax_over_rows_is_left_alone() -> None:
    graph = graph_of(
        f"(float[1,{CLASSES},6,7] x) => (uint8[1,{CLASSES},7] mask)",
        "w = ArgMax <axis=2, keepdims=0> (x)\nmask = Cast <to=2> (w)",
        {},
    )
    graph.contract = dataclasses.replace(graph.contract, output="mask", mask_size=(CLASSES, 7))
    assert_declined(graph, ClassMapOnHost(), "not over the classes", features())


def test_without_the_compiled_part_it_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segexport.native._class_map", None)
    assert_declined(ending(), ClassMapOnHost(), native.MISSING, features())
