"""Pillow's resize of 8-bit images as operators that every engine takes, equal to Pillow bit by bit.

Pillow resamples one axis after the other, and rounds to whole grey levels in between (`src/libImaging/Resample.c` of
Pillow 10 to 13). Each output pixel is a sum of a few neighbours with weights k / 2^22, k whole:

    out = clip((2^21 + sum k p) >> 22, 0, 255)

An axis is therefore the product of the image with a banded matrix. It is written as one small dense product for each
`BLOCK` of outputs and the slice of the image that they need. The image stays as it lies in memory, [N, h, w * 3]: rows
are combined from the left; columns from the right, by a matrix in which every weight stands once for each channel.

In float32 a sum of such products would be rounded, and the weights often make sums of exactly half a grey level
(bilinear from 3 to 2 pixels does), which then fall either way. Hence each k is 2^11 * high + low with whole
|high| <= 2^11 and |low| <= 2^10. The sums of `high * p` and `low * p` are whole numbers, and exact as long as those of
`low * p` stay below 2^24, which 64 weights a pixel cannot exceed. Then (whole numbers, floor divisions)

    out = (sum high p + floor(sum low p / 2^11) + 2^10) / 2^11

Both factors of every product have at most 11 significant bits (12 at the edges of an image enlarged with a filter that
has negative weights), so that TF32 multiplies them exactly too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import PIL

from segexport.graph.build import Writer, dims
from segexport.images import UInt8, resize_image
from segexport.spec import Size

Int64 = npt.NDArray[np.int64]
Taps = list[tuple[int, Int64]]
"""For each output along an axis the first input it needs, and the weights of that and the following ones times 2^22."""

PRECISION_BITS = 22
BLOCK = 16
"""Outputs computed by one product. Smaller blocks slice the image more often, larger ones multiply by more zeros:
measured on ONNX Runtime and OpenVINO, docs/resize.md."""

_HALF_BITS = PRECISION_BITS // 2
_CHANNELS = 3
_ROWS, _COLUMNS = 1, 2
"""Axes of [N, h, w * 3]."""


def _box(x: float) -> float:
    return float(-0.5 < x <= 0.5)


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _hamming(x: float) -> float:
    if x == 0:
        return 1.0
    if abs(x) >= 1:
        return 0.0
    x = abs(x) * math.pi
    return math.sin(x) / x * (_HAMMING[0] + _HAMMING[1] * math.cos(x))


_HAMMING = float(np.float32(0.54)), float(np.float32(0.46))  # Pillow writes them with an F


def _bicubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)


NEAREST = 0
_FILTERS: dict[int, tuple[Callable[[float], float], float]] = {
    1: (_lanczos, 3.0),
    2: (_bilinear, 1.0),
    3: (_bicubic, 2.0),
    4: (_box, 0.5),
    5: (_hamming, 1.0),
}
"""By Pillow's number: weight at a distance, and the distance beyond which it is zero."""


def taps(source: int, target: int, resample: int) -> Taps:
    """Which inputs each output along an axis is made of, in Pillow's own order of operations.

    Args:
        source: pixels along the axis.
        target: pixels wanted.
        resample: Pillow's number of a filter other than nearest.
    """
    weight, support = _FILTERS[resample]
    scale = source / target
    stretch = max(scale, 1.0)
    result = []
    for output in range(target):
        centre = (output + 0.5) * scale
        first = max(int(centre - support * stretch + 0.5), 0)
        end = min(int(centre + support * stretch + 0.5), source)
        weights = np.array([weight((i - centre + 0.5) * (1.0 / stretch)) for i in range(first, end)])
        fixed = weights / np.cumsum(weights)[-1] * (1 << PRECISION_BITS)  # cumsum adds one by one, as Pillow does
        result.append((first, np.trunc(fixed + np.copysign(0.5, fixed)).astype(np.int64)))
    return result


def nearest(source: int, target: int) -> Int64:
    """Which input each output along an axis is, int64 [target]; Pillow adds up positions, and so does this."""
    step = source / target
    return np.cumsum([step * 0.5] + [step] * (target - 1)).astype(np.int64)


def append(writer: Writer, image: ir.Value, size: Size, resample: int) -> ir.Value:
    """Add operators that resize an image as Pillow does.

    Args:
        writer: where the nodes go.
        image: float32 [N, h, w, 3], whole numbers from 0 to 255.
        size: height and width wanted. Where it is the image's own nothing is added.
        resample: one of `spec.FILTERS`.

    Returns:
        float32 [N, *size, 3], whole numbers from 0 to 255.
    """
    batch, height, width, _ = dims(image)
    assert isinstance(height, int)
    assert isinstance(width, int)
    source = (height, width)
    if source == size:
        return image
    if resample == NEAREST:
        for axis in (_ROWS, _COLUMNS):
            if source[axis - 1] != size[axis - 1]:
                index = writer.constant(nearest(source[axis - 1], size[axis - 1]), "nearest", np.int64)
                shape = dims(image)
                shape[axis] = size[axis - 1]
                image = writer.op("Gather", [image, index], shape=shape, axis=axis)
        return image
    image = _reshaped(writer, image, [batch, height, width * _CHANNELS])
    for axis in _order(source, size):
        image = _pass(writer, image, axis, taps(source[axis - 1], size[axis - 1], resample))
    return _reshaped(writer, image, [batch, *size, _CHANNELS])


def equal_to_pillow(image: UInt8, size: Size, resample: int) -> float:
    """Share of pixels of uint8 [h, w, 3], resized to `size` by these operators in NumPy, that are exactly Pillow's."""
    from onnx.reference import ReferenceEvaluator

    value = ir.Value(name="image", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, *image.shape]))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 18}, name="resize")
    graph.outputs.append(append(Writer(graph, "resize"), value, size, resample))
    model = ir.to_proto(ir.Model(graph, ir_version=10))
    (found,) = ReferenceEvaluator(model).run(None, {"image": image[None].astype(np.float32)})
    return float(np.equal(found[0], resize_image(image, size, resample)).all(-1).mean())


def _order(source: Size, target: Size) -> list[int]:
    """The axes that change, in the order in which the installed Pillow resamples them."""
    height, width = source[0] - target[0], source[1] - target[1]
    rows_first = int(PIL.__version__.split(".")[0]) >= 13 and height > max(0, width * 2)
    axes = (_ROWS, _COLUMNS) if rows_first else (_COLUMNS, _ROWS)
    return [axis for axis in axes if source[axis - 1] != target[axis - 1]]


def _pass(writer: Writer, image: ir.Value, axis: int, weights: Taps) -> ir.Value:
    """Resample float32 [N, h, w * 3] along one axis, and round to whole grey levels."""
    step = _CHANNELS if axis == _COLUMNS else 1
    written: dict[bytes, list[ir.Value]] = {}  # weights repeat along the image
    results = []
    for start in range(0, len(weights), BLOCK):
        first, matrix = _dense(weights[start : start + BLOCK])
        inputs = _sliced(writer, image, axis, first * step, (first + matrix.shape[1]) * step)
        key = matrix.tobytes() + bytes([len(matrix)])
        if key not in written:
            written[key] = _factors(writer, axis, matrix)
        sums = [_product(writer, inputs, axis, factor) for factor in written[key]]
        results.append(_rounded(writer, *sums, clip=bool((matrix < 0).any())))
    if len(results) == 1:
        return results[0]
    shape = dims(image)
    shape[axis] = len(weights) * step
    return writer.op("Concat", results, shape=shape, axis=axis)


def _dense(weights: Taps) -> tuple[int, Int64]:
    """The weights of some neighbouring outputs as a matrix [outputs, inputs], and the first of those inputs."""
    first = min(start for start, _ in weights)
    end = max(start + len(k) for start, k in weights)
    matrix = np.zeros((len(weights), end - first), np.int64)
    for row, (start, k) in zip(matrix, weights, strict=True):
        row[start - first : start - first + len(k)] = k
    return first, matrix


def _sliced(writer: Writer, image: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    shape = dims(image)
    if (start, end) == (0, shape[axis]):
        return image
    shape[axis] = end - start
    bounds = [writer.constant([n], f"resize_{axis}_{n}", np.int64) for n in (start, end, axis)]
    return writer.op("Slice", [image, *bounds], shape=shape)


def _factors(writer: Writer, axis: int, matrix: Int64) -> list[ir.Value]:
    """What to multiply the image by for the sums of `high * p` and of `low * p / 2^11`."""
    low = (matrix + (1 << _HALF_BITS - 1)) % (1 << _HALF_BITS) - (1 << _HALF_BITS - 1)
    high = (matrix - low) >> _HALF_BITS
    halves = (high, low / (1 << _HALF_BITS))
    if axis == _ROWS:
        return [writer.constant(half, "rows", np.float32) for half in halves]
    return [writer.constant(np.kron(half.T, np.eye(_CHANNELS)), "columns", np.float32) for half in halves]


def _product(writer: Writer, image: ir.Value, axis: int, factor: ir.Value) -> ir.Value:
    shape = dims(image)
    if axis == _ROWS:
        shape[axis] = dims(factor)[0]
        return writer.op("MatMul", [factor, image], shape=shape)
    shape[axis] = dims(factor)[1]
    return writer.op("MatMul", [image, factor], shape=shape)


def _rounded(writer: Writer, high: ir.Value, low: ir.Value, *, clip: bool) -> ir.Value:
    """Grey levels of the sums of `high * p` and of `low * p / 2^11`; weights that are all positive need no clip."""
    shape = dims(high)
    value = writer.op("Add", [high, writer.op("Floor", [low], shape=shape)], shape=shape)
    value = writer.op("Add", [value, writer.constant(1 << _HALF_BITS - 1, "half", np.float32)], shape=shape)
    value = writer.op("Mul", [value, writer.constant(2.0**-_HALF_BITS, "unit", np.float32)], shape=shape)
    value = writer.op("Floor", [value], shape=shape)
    if clip:
        limits = [writer.constant(n, f"grey_{n}", np.float32) for n in (0, 255)]
        value = writer.op("Clip", [value, *limits], shape=shape)
    return value


def _reshaped(writer: Writer, value: ir.Value, shape: list[int | str]) -> ir.Value:
    target = writer.constant([n if isinstance(n, int) else -1 for n in shape], "shape", np.int64)
    return writer.op("Reshape", [value, target], shape=shape)
