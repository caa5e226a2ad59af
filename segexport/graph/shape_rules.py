"""What operators make of symbolic shapes, for those that a SegFormer's graph consists of (ONNX, opset 18)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from segexport.graph.symbolic import Dim, Dims, dim, split, strided

Rule = Callable[[ir.Node, Sequence[Dims]], Sequence[Dims]]
"""Shapes of the outputs, from the shapes of the inputs (of one left out, none). Raises `Unclear`."""


class Unclear(Exception):
    """Raised where a shape at another size does not follow; becomes a `ContractError` that names the node."""


def require(condition: bool, reason: str) -> None:
    """Raise `Unclear` unless `condition` holds."""
    if not condition:
        raise Unclear(reason)


def constant_ints(value: ir.Value | None) -> list[int] | None:
    """The whole numbers of a constant; None if it is computed."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else [int(n) for n in tensor.numpy().reshape(-1)]


def _broadcast(_: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    return [_together(shapes)]


def _together(shapes: Sequence[Dims]) -> Dims:
    result = []
    for dims in itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=dim()):
        distinct = {one for one in dims if one != dim()}
        require(len(distinct) <= 1, f"{' and '.join(sorted(map(str, distinct)))} are not the same at every size")
        result.append(distinct.pop() if distinct else dim())
    return tuple(reversed(result))


def _first(_: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    return [shapes[0]]


def _conv(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    source, weight = shapes[:2]
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    require(auto == "NOTSET", f"it pads by {auto}")
    kernel = [one.value for one in weight[2:]]
    count = len(kernel)
    pads = _ints(node, "pads", [0] * 2 * count)
    strides, dilations = _ints(node, "strides", [1] * count), _ints(node, "dilations", [1] * count)
    result = [source[0], weight[0]]
    for axis, size in enumerate(source[2:]):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        found = strided(size, reach, pads[axis] + pads[axis + count], strides[axis])
        if found is None:
            raise Unclear(f"it strides along {size}")
        result.append(found)
    return [tuple(result)]


def _matmul(_: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    left, right = shapes
    require(min(len(left), len(right)) >= 2, "an operand is a vector")
    require(left[-1] == right[-2], f"{left[-1]} and {right[-2]} are not the same at every size")
    return [(*_together([left[:-2], right[:-2]]), left[-2], right[-1])]


def _gemm(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    left = shapes[0] if not node.attributes.get_int("transA", 0) else shapes[0][::-1]
    right = shapes[1] if not node.attributes.get_int("transB", 0) else shapes[1][::-1]
    return _matmul(node, [left, right])


def _transpose(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    perm = _ints(node, "perm", list(range(len(shapes[0])))[::-1])
    return [tuple(shapes[0][axis] for axis in perm)]


def _concat(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    axis = node.attributes.get_int("axis", 0) % len(shapes[0])
    result = []
    for place, dims in enumerate(zip(*shapes, strict=True)):
        if place == axis:
            require(all(one.known for one in dims), "it joins sizes that change with the image's")
            result.append(dim(sum(one.value for one in dims)))
        else:
            require(len(set(dims)) == 1, f"{' and '.join(map(str, set(dims)))} are not the same at every size")
            result.append(dims[0])
    return [tuple(result)]


def _reduce(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    axes = constant_ints(node.inputs[1]) if len(node.inputs) > 1 else _ints(node, "axes", [])
    require(bool(axes), "the axes it reduces are not known")
    return [_reduced(node, shapes[0], axes or [])]


def _argmax(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    axis = node.attributes.get_int("axis", 0)
    require(shapes[0][axis].known, "it counts along a size that changes with the image's")
    return [_reduced(node, shapes[0], [axis])]


def _reduced(node: ir.Node, shape: Dims, axes: Sequence[int]) -> Dims:
    gone = {axis % len(shape) for axis in axes}
    keep = node.attributes.get_int("keepdims", 1)
    kept = (dim() if axis in gone else one for axis, one in enumerate(shape) if keep or axis not in gone)
    return tuple(kept)


def _gather(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    axis = node.attributes.get_int("axis", 0) % len(shapes[0])
    require(shapes[0][axis].known, "it picks along a size that changes with the image's")
    return [(*shapes[0][:axis], *shapes[1], *shapes[0][axis + 1 :])]


def _topk(node: ir.Node, shapes: Sequence[Dims]) -> Sequence[Dims]:
    axis = node.attributes.get_int("axis", -1) % len(shapes[0])
    count = constant_ints(node.inputs[1])
    require(count is not None and shapes[0][axis].known, "it picks along a size that changes with the image's")
    found = (*shapes[0][:axis], dim(*(count or [])), *shapes[0][axis + 1 :])
    return [found, found]


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return list(node.attributes.get_ints(name, default))


_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Where", "Max", "Min")
_ONE_INPUT = (
    *(
        "Cast",
        "Clip",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "Identity",
        "Neg",
        "Reciprocal",
        "Relu",
        "Sigmoid",
        "Sqrt",
        "Tanh",
    ),
    *("Softmax", "LogSoftmax", "LayerNormalization", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"),
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _broadcast),
    **dict.fromkeys(_ONE_INPUT, _first),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _reduce),
    "ArgMax": _argmax,
    "Concat": _concat,
    "Conv": _conv,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "TopK": _topk,
    "Transpose": _transpose,
}


def numbers_of(node: ir.Node, shapes: Sequence[Dims], numbers: Sequence[Dims | None]) -> Dims | None:
    """The whole numbers that `node` makes of a value's shape; None if it makes something else.

    Args:
        node: any.
        shapes: of its inputs.
        numbers: what its inputs hold, where they are whole numbers that are known or come from a shape.
    """
    if node.op_type == "Shape":
        start = node.attributes.get_int("start", 0)
        end = node.attributes.get_int("end", len(shapes[0]))
        return shapes[0][start:end]
    if not numbers or any(one is None for one in numbers):
        return None
    given = [one for one in numbers if one is not None]
    if node.op_type == "Concat":
        return tuple(one for part in given for one in part)
    if node.op_type == "Gather":
        return tuple(given[0][index.value] for index in given[1])
    return given[0] if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze") else None


def named(dims: Sequence[Dim]) -> list[int | str]:
    """A shape as ONNX records it."""
    return [one.value if one.known else str(one) for one in dims]


def reshaped(node: ir.Node, source: Dims, told: Sequence[int]) -> Dims:
    """What a Reshape makes that is told these sizes."""
    require(not (node.attributes.get_int("allowzero", 0) and 0 in told), "it makes an empty shape")
    sizes = [source[axis].value if size == 0 else size for axis, size in enumerate(told)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = math.prod(one.value for one in source) // -math.prod(sizes)
    made = split(source, sizes)
    before, after = (" x ".join(map(str, shape)) for shape in (source, sizes))
    if made is None:
        raise Unclear(f"{before} as {after} can be read in more than one way")
    # A batch of 1 is told from other ones by its place alone.
    inner = [unknown for one in (*source[1:], *made[1:]) for unknown in one.unknowns]
    require(all(unknown.side != "batch" or unknown.value != 1 for unknown in inner), "its first dimension is no batch")
    return made


def expanded(source: Dims, told: Dims) -> tuple[Dims, list[Dim | int]]:
    """What an Expand makes that is told this shape; and the shape to tell it for the same at any size."""
    made: list[Dim] = []
    target: list[Dim | int] = []
    for one, size in itertools.zip_longest(reversed(source), reversed(told), fillvalue=dim()):
        kept = size.value in (1, one.value) and one != dim()
        require(kept or one == dim(), f"{one} cannot become {size}")
        made.append(one if kept else size)
        target.append(1 if kept else size)
    return tuple(reversed(made)), target[::-1]
