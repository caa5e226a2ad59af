"""Multiply-accumulates of a graph, counted from shapes: one for each product that Conv, MatMul and Gemm sum up.

ONNX Runtime's fused attention counts as the two products that it computes.
This is what the SegFormer paper's "FLOPs" are (Xie et al. 2021, arXiv:2105.15203, table 1): biases, normalisation,
activations, softmax and resizing are no sums of products and count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir

Shape = tuple[int | str | None, ...]
"""Dimensions: a number, a name, or None where nothing is known."""

_COUNTED = {("", "Conv"), ("", "MatMul"), ("", "Gemm"), ("com.microsoft", "MultiHeadAttention")}
_NO_PRODUCTS = {("com.microsoft", name) for name in ("Gelu", "BiasGelu", "FastGelu", "SkipLayerNormalization")}
_NOT_COUNTED = {
    *("Einsum", "ConvTranspose", "DeformConv", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
    *("Attention", "RNN", "GRU", "LSTM", "If", "Loop", "Scan"),
}
"""ONNX's other operators that multiply, or hold graphs that may. No SegFormer that transformers exports has one."""
_UNKNOWN = "a shape is unknown"
_SMALL = 1024  # bytes: inference needs the sizes that Reshape and Resize are given, and no weights


def of_nodes(model: ir.Model) -> Iterator[tuple[ir.Node, int | str]]:
    """Every node of the main graph with its multiply-accumulates, or with the reason why they cannot be counted.

    An open batch (no number in the first dimension of an input) counts as 1. Missing shapes are inferred; `model`
    is not changed. Nodes that sum no products come with 0.
    """
    shapes = _Shapes(model)
    for node in model.graph:
        domain = node.domain.removeprefix("ai.onnx")
        if node.op_identifier() in model.functions:
            yield node, "a function of the model's own"
        elif (domain, node.op_type) in _COUNTED:
            yield node, _products(node, shapes)
        elif (domain, node.op_type) in _NO_PRODUCTS:
            yield node, 0
        elif domain:
            yield node, f"an operator of another domain, {node.domain}"
        elif node.op_type in _NOT_COUNTED:
            yield node, "an operator that is not counted"
        else:
            yield node, 0


def has_open_batch(model: ir.Model) -> bool:
    """Whether the first dimension of an input is left open."""
    return any(not isinstance(dims(value.shape)[0], int) for value in _batched(model))


def dims(shape: ir.Shape | ir.ShapeProtocol | None) -> Shape:
    """A shape as plain numbers and names; no shape is ()."""
    return tuple(side if isinstance(side, int) else side.value for side in (shape if shape is not None else ()))


def _products(node: ir.Node, shapes: _Shapes) -> int | str:
    """Output elements times the length of the sum behind each."""
    if node.op_type == "MultiHeadAttention":
        return _attention(node, shapes)
    first, second, out = (shapes[v] for v in (node.inputs[0], node.inputs[1], node.outputs[0]))
    if first is None or second is None or out is None:
        return _UNKNOWN
    if node.op_type == "Conv":
        return _product(out + second[1:])  # the weight is [out, in / group, *kernel]
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return _product(out + first[:1])
    return _product(out + first[-1:])


def _attention(node: ir.Node, shapes: _Shapes) -> int | str:
    """Queries [N, S, D] with keys [N, L, D], and the scores [N, heads, S, L] with values [N, L, E]."""
    if len(node.inputs) < 3 or any(value is not None for value in node.inputs[3:]):
        return "attention with packed, masked or earlier keys"
    queries, keys, values = (shapes[value] for value in node.inputs[:3])
    if queries is None or keys is None or values is None:
        return _UNKNOWN
    if not len(queries) == len(keys) == len(values) == 3:
        return "attention with packed, masked or earlier keys"
    scores, mixed = _product((*queries, keys[1])), _product((*queries[:2], *values[1:]))
    if isinstance(scores, str) or isinstance(mixed, str):
        return scores if isinstance(scores, str) else mixed
    return scores + mixed


def _product(sides: Shape) -> int | str:
    numbers = [side for side in sides if isinstance(side, int)]
    if len(numbers) == len(sides):
        return math.prod(numbers)
    names = dict.fromkeys(side or "?" for side in sides if not isinstance(side, int))
    return f"a shape has dimensions without a number: {', '.join(names)}"


class _Shapes:
    """A value's shape for one image: the one it holds, or the inferred one where that has gaps."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._batch = {side for value in _batched(model) if isinstance(side := dims(value.shape)[0], str)}
        self._inferred: Mapping[str, Shape] | None = None

    def __getitem__(self, value: ir.Value | None) -> Shape | None:
        if value is None:
            return None
        tensor = ir.convenience.get_const_tensor(value)
        shape = value.shape if tensor is None else tensor.shape
        held = None if shape is None else tuple(1 if side in self._batch else side for side in dims(shape))
        if held is not None and all(isinstance(side, int) for side in held):
            return held
        if self._inferred is None:  # most graphs hold all their shapes, and inference takes a copy
            self._inferred = _infer(self._model)
        return self._inferred.get(value.name or "", held)


def _batched(model: ir.Model) -> list[ir.Value]:
    """Inputs with dimensions behind the first: if the first is open, it is the batch."""
    return [v for v in model.graph.inputs if v.shape is not None and len(v.shape) > 1 and v.const_value is None]


def _infer(model: ir.Model) -> dict[str, Shape]:
    """Shapes that ONNX's inference finds for one image, by value name; none at all where it fails."""
    proto = ir.to_proto(model)
    batched = {value.name for value in _batched(model)}
    for entry in proto.graph.input:
        first = entry.type.tensor_type.shape.dim
        if entry.name in batched and not first[0].HasField("dim_value"):
            first[0].dim_value = 1
    # Inference serialises its input, which must stay below 2 GB, so weights become inputs.
    inputs = {entry.name for entry in proto.graph.input}
    tensors = list(proto.graph.initializer)
    proto.graph.ClearField("initializer")
    for tensor in tensors:
        if tensor.name not in inputs:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        if tensor.ByteSize() <= _SMALL and tensor.data_location != onnx.TensorProto.EXTERNAL:
            proto.graph.initializer.append(tensor)
    try:
        found = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
        return {}
    values = (*found.input, *found.value_info, *found.output)
    return {v.name: _proto_dims(v.type.tensor_type.shape) for v in values if v.type.tensor_type.HasField("shape")}


def _proto_dims(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in shape.dim)
