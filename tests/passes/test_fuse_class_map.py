"""Gathers and maxima make the class map that Resize and ArgMax made."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from segexport import native
from segexport.passes.bilinear import gathered
from segexport.passes.fuse_class_map import FuseClassMap
from tests.support.class_map_endings import CLASSES, GRID, REASONS, SIZE, ending, features
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of


@pytest.mark.parametrize(("dimension", "count"), [("1", 1), ("2", 2), ("N", 3)])
def test_the_class_map_is_the_same(dimension: str, count: int) -> None:
    """Every third pixel is a tie, which goes to the lowest id."""
    graph = ending(batch=dimension)
    (before,) = outputs_of(graph, features(count))
    result = apply(graph, FuseClassMap())
    assert (result.rewritten, result.declined) == (("w",), ())
    left = set(operators(graph))
    assert not left & {"Resize", "ArgMax"}
    assert graph.model.graph.outputs[0].name == "mask"
    (mask,) = outputs_of(graph, features(count))
    np.testing.assert_array_equal(mask, before)
    assert len(np.unique(mask)) == CLASSES
    np.testing.assert_array_equal(apply(graph, FuseClassMap()).rewritten, ())


@pytest.mark.parametrize("size", [(31, 25), (5, 3), (1, 60), GRID])
def test_a_factor_that_is_no_whole_number(size: tuple[int, int]) -> None:
    graph = ending(size=size)
    inputs = {"x": np.random.default_rng(1).normal(size=(1, CLASSES, *GRID))}
    (before,) = outputs_of(graph, inputs)
    assert apply(graph, FuseClassMap()).rewritten == ("w",)
    np.testing.assert_array_equal(outputs_of(graph, inputs)[0], before)


def test_a_mask_of_the_networks_size() -> None:
    graph = ending(resize="Identity (n)", argmax="ArgMax <axis=1, keepdims=0> (n)", size=GRID)
    (before,) = outputs_of(graph, features())
    assert apply(graph, FuseClassMap()).rewritten == ("w",)
    assert "Gather" not in operators(graph)
    np.testing.assert_array_equal(outputs_of(graph, features())[0], before)


@pytest.mark.skipif(not native.available(), reason=native.MISSING)
@pytest.mark.parametrize("size", [SIZE, (31, 25)])
def test_fp16_logits_are_upsampled_in_fp32(size: tuple[int, int]) -> None:
    """As the kernels behind an engine do: the same classes as theirs, where FP16 arithmetic makes ties of its own."""
    grid = f"{CLASSES},{GRID[0]},{GRID[1]}"
    body = """
        h = Cast <to=10> (x)
        u = Resize <mode="linear", coordinate_transformation_mode="half_pixel"> (h, , , sizes)
        w = ArgMax <axis=1, keepdims=0> (u)
        mask = Cast <to=2> (w)"""
    signature = f"(float[1,{grid}] x) => (uint8[1,{size[0]},{size[1]}] mask)"
    graph = graph_of(signature, body, {"sizes": np.array([1, CLASSES, *size])})
    graph.contract = ending(size=size).contract
    near = 10 + 0.05 * np.random.default_rng(2).normal(size=(1, CLASSES, *GRID))
    assert apply(graph, FuseClassMap()).rewritten == ("w",)
    (mask,) = outputs_of(graph, {"x": near})
    half = near.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(mask, native.class_map(np.ascontiguousarray(half.transpose(0, 2, 3, 1)), size, 1))
    assert {value.dtype for value in graph.model.graph.initializers.values()} == {ir.DataType.FLOAT, ir.DataType.INT64}


def test_more_classes_than_fp16_counts() -> None:
    """255, the most that a mask holds; the largest id wins somewhere."""
    classes = 255
    body = "w = ArgMax <axis=1, keepdims=0> (x) mask = Cast <to=2> (w)"
    graph = graph_of(f"(float[1,{classes},8,64] x) => (uint8[1,8,64] mask)", body, {})
    graph.contract = ending(size=(8, 64)).contract
    x = np.full((1, classes, 8 * 64), -1.0)
    x[0, np.arange(8 * 64) % classes, np.arange(8 * 64)] = 1
    assert apply(graph, FuseClassMap()).rewritten == ("w",)
    (mask,) = outputs_of(graph, {"x": x.reshape(1, classes, 8, 64)})
    np.testing.assert_array_equal(mask.reshape(-1), np.arange(8 * 64) % classes)


@pytest.mark.parametrize(("what", "reason"), REASONS)
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    assert_declined(ending(**what), FuseClassMap(), reason, features())


def test_again() -> None:
    graph = ending()
    apply(graph, FuseClassMap())
    assert_unchanged(graph, FuseClassMap())


def test_upsampling_is_what_torch_interpolates() -> None:
    """The weights and corners themselves, at factors up and down; float32 rounds a sum of four to 1e-6."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(size=(2, 3, 5, 6)).astype(np.float32)
    for size in ((20, 24), (7, 11), (5, 6), (1, 1), (3, 17)):
        from segexport.graph.build import Writer

        graph = graph_of("(float[2,3,5,6] x) => (float[2,3,5,6] y)", "y = Identity (x)", {})
        writer = Writer(graph.model.graph, "up")
        made = gathered(writer, graph.model.graph.inputs[0], size)
        made.name = "made"
        graph.model.graph.outputs[0] = made
        wanted = torch.nn.functional.interpolate(torch.from_numpy(x), size=size, mode="bilinear").numpy()
        np.testing.assert_allclose(outputs_of(graph, {"x": x})[0], wanted, atol=1e-6)
