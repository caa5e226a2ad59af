"""Bilinear upsampling: recognised as a Resize, and written as gathers and sums for a builder that fuses those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.passes.base import Decline
from segexport.passes.match import attribute, produced_by, require

FLOAT = ir.DataType.FLOAT


def source_of(upsampled: ir.Value | None) -> ir.Value:
    """What a Resize that nothing else reads upsamples bilinearly, as `Writer.resize_bilinear` writes it.

    Raises:
        Decline: another operator or kind of interpolation, or a shape that is not known.
    """
    resize = produced_by(upsampled, "Resize")
    require(attribute(resize, "mode", "nearest") == "linear", "the upsampling is not bilinear")
    transform = attribute(resize, "coordinate_transformation_mode", "half_pixel")
    require(transform == "half_pixel", f"the upsampling samples at {transform}")
    require(attribute(resize, "antialias", 0) == 0, "the upsampling is antialiased")
    source = resize.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        raise Decline("what is upsampled is no planes")
    return source


def sides(value: ir.Value) -> tuple[int, int]:
    """Height and width of [N, C, H, W].

    Raises:
        Decline: they are not known.
    """
    if value.shape is None or len(value.shape) != 4:
        raise Decline("what is upsampled is no planes")
    height, width = dims(value)[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise Decline("the height and width are not fixed")
    return height, width


def gathered(writer: Writer, planes: ir.Value, size: Sequence[int]) -> ir.Value:
    """Planes [N, C, h, w] upsampled to `size` in FP32: (1-v) ((1-u) a + u b) + v ((1-u) c + u d) of four gathers.

    The arithmetic is that of runtime/include/segexport/class_map.hpp, and of torch.nn.functional.interpolate.
    """
    height, width = size
    batch, channels, rows, columns = dims(planes)
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    top, bottom, v = _axis(rows, height)
    left, right, u = _axis(columns, width)
    shape = [batch, channels, height, width]

    def pick(value: ir.Value, indices: npt.NDArray[np.int64], axis: int) -> ir.Value:
        # In FP16 the numbers are fetched as such, and only then widened: the cast is part of the same kernel.
        side = [*dims(value)]
        side[axis] = len(indices)
        dtype = value.dtype or FLOAT
        return writer.op(
            "Gather", [value, writer.constant(indices, "at", np.int64)], dtype=dtype, shape=side, axis=axis
        )

    def between(low: ir.Value, high: ir.Value, weight: npt.NDArray[np.float32]) -> ir.Value:
        kept = writer.op("Mul", [low, writer.constant(np.float32(1) - weight, "kept", np.float32)], shape=shape)
        added = writer.op("Mul", [high, writer.constant(weight, "added", np.float32)], shape=shape)
        return writer.op("Add", [kept, added], shape=shape)

    ends = []
    for indices in (top, bottom):
        row = pick(planes, indices, 2)
        corners = [widened(writer, pick(row, columns_of, 3)) for columns_of in (left, right)]
        ends.append(between(corners[0], corners[1], u.reshape(1, 1, 1, width)))
    return between(ends[0], ends[1], v.reshape(1, 1, height, 1))


def widened(writer: Writer, value: ir.Value) -> ir.Value:
    """The value in FP32."""
    if value.dtype in (None, FLOAT):
        return value
    return writer.op("Cast", [value], shape=dims(value), to=int(FLOAT))


def _axis(count: int, wanted: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `wanted` places the lower and upper of `count` indices, and the upper one's weight."""
    scale = np.float32(count) / np.float32(wanted)
    at = np.maximum(np.float32(0), scale * (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5))
    low = np.minimum(at.astype(np.int64), count - 1)
    high = np.minimum(low + 1, count - 1)
    return low, high, np.where(low + 1 < count, at - low.astype(np.float32), np.float32(0)).astype(np.float32)
