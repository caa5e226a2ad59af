"""Logits and the compiled class map behind them are what Resize and ArgMax were in the graph."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from segexport import native
from segexport.passes.class_map_on_host import ClassMapOnHost
from segexport.spec import LOGITS
from tests.support.class_map_endings import CLASSES, GRID, REASONS, SIZE, ending, features
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

COMPILED = pytest.mark.skipif(not native.available(), reason=native.MISSING)


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
