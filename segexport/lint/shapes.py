"""Shapes of every value, by ONNX's own inference, and the nodes that no shapes fit."""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir

from segexport.graph.macs import Shape

_SMALL = 1024  # bytes: inference needs sizes and axes, and no weights
_ERRORS = (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError)
_FAILED = re.compile(
    r"\(op_type:(?P<operator>[^,]*), node name: (?P<node>[^)]*)\): \[ShapeInferenceError\] (?P<why>.*)"
)
_OF_TYPES = ("ParseData", "Inference error")
"""How reasons begin that are about types, or about an operator's own definition, and not about sizes."""


def infer(model: ir.Model) -> tuple[dict[str, Shape], list[tuple[str, str, str]]]:
    """Shapes by the name of the value; and node, operator and reason for each node that fails.

    What the file declares for values inside it and for outputs is not read, since TensorRT does not read it either.
    """
    proto = _without_weights(model)
    failed = []
    try:
        onnx.shape_inference.infer_shapes(proto, data_prop=True, strict_mode=True)
    except _ERRORS as error:
        found = [(one["node"], one["operator"], one["why"].strip()) for one in _FAILED.finditer(str(error))]
        failed = [one for one in found if not one[2].startswith(_OF_TYPES)]
    try:
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except _ERRORS:
        return {}, failed
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: _dims(v.type.tensor_type.shape) for v in values if v.type.tensor_type.HasField("shape")}, failed


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """A copy in which large constants are inputs, and nothing but inputs has a shape.

    Inference serialises its input, which must stay below 2 GB.
    """
    graph = model.graph
    proto = onnx.ModelProto(ir_version=10, graph=onnx.GraphProto(name="shapes"))
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, n) for domain, n in model.opset_imports.items())
    inputs = {value.name for value in graph.inputs}
    proto.graph.input.extend(ir.to_proto(value) for value in graph.inputs)
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        if name not in inputs:
            dims = list(tensor.shape.numpy())
            proto.graph.input.append(onnx.helper.make_tensor_value_info(name, int(tensor.dtype), dims))
        if tensor.nbytes <= _SMALL and not isinstance(tensor, ir.ExternalTensor):
            proto.graph.initializer.append(ir.to_proto(tensor))
            proto.graph.initializer[-1].name = name
    proto.graph.node.extend(ir.to_proto(node) for node in graph)
    proto.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in graph.outputs)
    return proto


def _dims(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in shape.dim)
