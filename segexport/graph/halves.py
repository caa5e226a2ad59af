"""Queries in two halves at any size of the image: where their number is odd, both halves hold the middle one.

`split-queries` gives an attention of one head two, each with a half of the queries, for TensorRT leaves a single one
unfused. With an open size the number may be odd. Rows of an attention do not know of each other (Vaswani et al. 2017,
arXiv:1706.03762, section 3.2.1), so that one may be computed twice, and one of the two results dropped.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer
from segexport.spec import Grid, Size

Shape = Sequence[int | str]


def parts_stay_equal(least: Size, most: Size, grid: Grid, *, parts: int = 2, step: int = 1) -> bool:
    """Whether the first stage has a multiple of `parts` cells for every image of a profile.

    Args:
        least: smallest height and width.
        most: largest; the same for a profile of one size.
        grid: the network's; the first stage has a cell for each of the logits.
        parts: into how many `split-queries` took the queries.
        step: what sizes differ by: 32 if the program that runs the engine only makes such sizes.
    """
    height, width = (range(low, high + 1, step) for low, high in zip(least, most, strict=True))
    rows, columns = ({grid.of((n, n))[0] for n in sides} for sides in (height, width))
    return all(row * column % parts == 0 for row, column in itertools.product(rows, columns))


def repeat_middle(writer: Writer, value: ir.Value, axis: int, count: ir.Value, shapes: Sequence[Shape]) -> ir.Value:
    """`value` with its middle twice along `axis` if it has an odd number of them.

    Args:
        writer: where the nodes go.
        value: any.
        axis: along which there are `count`.
        count: int64 [1].
        shapes: of a half, rounded up, and of the result.
    """
    less, more = _halves(writer, count)
    zero = writer.constant([0], "first", np.int64)
    parts = [_cut(writer, value, axis, ends, shapes[0]) for ends in ((zero, more), (less, count))]
    return writer.op("Concat", parts, dtype=_dtype(value), shape=shapes[1], axis=axis)


def drop_middle(writer: Writer, value: ir.Value, axis: int, count: ir.Value, shapes: Sequence[Shape]) -> ir.Value:
    """Undo `repeat_middle`: of a middle that is there twice, the second stays.

    Args:
        writer: where the nodes go.
        value: any.
        axis: along which there are `count`, or one more.
        count: int64 [1].
        shapes: of a half, rounded down, of one rounded up, and of the result.
    """
    less, more = _halves(writer, count)
    zero = writer.constant([0], "first", np.int64)
    end = writer.op("Add", [more, more], dtype=ir.DataType.INT64, shape=[1])
    parts = [
        _cut(writer, value, axis, (zero, less), shapes[0]),
        _cut(writer, value, axis, (more, end), shapes[1]),
    ]
    return writer.op("Concat", parts, dtype=_dtype(value), shape=shapes[2], axis=axis)


def _halves(writer: Writer, count: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Half of `count` rounded down, and rounded up."""
    two = writer.constant([2], "two", np.int64)
    less = writer.op("Div", [count, two], dtype=ir.DataType.INT64, shape=[1])
    return less, writer.op("Sub", [count, less], dtype=ir.DataType.INT64, shape=[1])


def _cut(writer: Writer, value: ir.Value, axis: int, ends: tuple[ir.Value, ir.Value], shape: Shape) -> ir.Value:
    axes = writer.constant([axis], "axis", np.int64)
    return writer.op("Slice", [value, *ends, axes], dtype=_dtype(value), shape=shape, name="half")


def _dtype(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype
