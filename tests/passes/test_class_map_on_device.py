"""The graph ends at the logits that the class map was made of, in their own precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from segexport import native
from segexport.passes.class_map_on_device import ClassMapOnDevice
from segexport.spec import LOGITS
from tests.support.class_map_endings import CLASSES, GRID, REASONS, SIZE, ending, features
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of


@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("2", 2), ("N", 3)])
def test_the_logits_are_those(dimension: str, count: int) -> None:
    graph = ending(batch=dimension)
    (before,) = outputs_of(graph, features(count))
    result = apply(graph, ClassMapOnDevice())
    assert (result.rewritten, result.declined) == (("w",), ())
    assert operators(graph) == ["Neg"]
    (output,) = graph.model.graph.outputs
    assert (output.name, output.dtype) == (LOGITS, ir.DataType.FLOAT)
    (logits,) = outputs_of(graph, features(count))
    assert logits.shape == (count, CLASSES, *GRID)
    if native.available():
        last = np.ascontiguousarray(logits.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(native.class_map(last, SIZE, 1), before)
    assert_unchanged(graph, ClassMapOnDevice())


def test_logits_in_fp16_stay_so() -> None:
    signature = f"(float[1,{CLASSES},6,7] x) => (uint8[1,6,7] mask)"
    graph = graph_of(signature, "h = Cast <to=10> (x) w = ArgMax <axis=1, keepdims=0> (h) mask = Cast <to=2> (w)", {})
    graph.contract = ending(size=GRID).contract
    assert apply(graph, ClassMapOnDevice()).rewritten == ("w",)
    assert operators(graph) == ["Cast"]
    (logits,) = outputs_of(graph, features())
    assert logits.dtype == np.float16
    np.testing.assert_array_equal(logits, features()["x"])


@pytest.mark.parametrize(("what", "reason"), REASONS)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(ending(**what), ClassMapOnDevice(), reason, features())


def test_logits_that_are_an_output_already() -> None:
    signature = f"(float[1,{CLASSES},6,7] x) => (uint8[1,6,7] mask, float[1,{CLASSES},6,7] n)"
    graph = graph_of(signature, "n = Neg (x) w = ArgMax <axis=1, keepdims=0> (n) mask = Cast <to=2> (w)", {})
    graph.contract = ending(size=GRID).contract
    assert_declined(graph, ClassMapOnDevice(), "an output already", features())
