"""The element type that TensorRT gives every value: not always the one that ONNX or the file says.

Float64 becomes float32, uint8 constants become int32 (unless DequantizeLinear reads them), QuantizeLinear makes int8 of
uint8. Seen on the parser of TensorRT for RTX 1.7.1.116. What a file declares for a value inside it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

Types = dict[ir.Value, str]
"""Names as ONNX writes them: `float`, `float16`, `uint8`..."""

_INT64 = {"Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression"}
_BOOL = {
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"),
}
_INT32 = {"MatMulInteger", "ConvInteger"}
_FLOAT = {"HannWindow", "HammingWindow", "BlackmanWindow"}
_SECOND = {"TopK": "int64", "MaxPool": "int64", "Dropout": "bool"}
_AS_INPUT = {"Where": 1, "OneHot": 2, "CastLike": 1}
_DTYPED = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "EyeLike"}


def types_of(model: ir.Model, nodes: Sequence[ir.Node]) -> Types:
    """Types of inputs, constants and what `nodes` make, as far as they are known; missing where they are not."""
    found: Types = {}
    values = list(model.graph.inputs)
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                values += [*attribute.as_graph().inputs, *attribute.as_graph().initializers.values()]
    for value in (*values, *model.graph.initializers.values()):
        if (name := onnx_type(value)) is not None:
            found[value] = _constant(value, name) if value.is_initializer() else _taken(name)
    known = -1
    while len(found) > known:  # a file's nodes need not be in order
        known = len(found)
        for node in nodes:
            for index, output in enumerate(node.outputs):
                if (made := _output(node, index, found)) is not None:
                    found[output] = _taken(made)
    return found


def onnx_type(value: ir.Value) -> str | None:
    """The type that the file says, if it says one."""
    tensor = value.const_value
    dtype = value.dtype if tensor is None else tensor.dtype
    return None if dtype is None or dtype == ir.DataType.UNDEFINED else dtype.name.lower()


def _taken(name: str) -> str:
    return "float" if name == "double" else name


def _constant(value: ir.Value, name: str) -> str:
    dequantized = any(use.node.op_type == "DequantizeLinear" and use.idx == 0 for use in value.uses())
    return "int32" if name == "uint8" and not dequantized else _taken(name)


def _output(node: ir.Node, index: int, found: Types) -> str | None:
    operator = node.op_type
    if operator == "Constant":
        tensor = ir.convenience.get_const_tensor(node.outputs[0])
        return None if tensor is None else _constant(node.outputs[0], tensor.dtype.name.lower())
    if index == 1 and operator in _SECOND:
        return _SECOND[operator]
    for names, fixed in ((_INT64, "int64"), (_BOOL, "bool"), (_INT32, "int32"), (_FLOAT, "float")):
        if operator in names:
            return fixed
    if operator == "Cast":
        return _named(node, "to")
    if operator == "QuantizeLinear":
        return _quantized(node, found)
    if operator == "DequantizeLinear":
        return _named(node, "output_dtype") or _input(node, 1, found)
    if operator == "ConstantOfShape":
        value = node.attributes.get("value")
        return "float" if value is None else value.as_tensor().dtype.name.lower()
    if operator in _DTYPED and (name := _named(node, "dtype")) is not None:
        return name
    if operator in ("RandomNormal", "RandomUniform"):
        return "float"
    if operator in ("If", "Loop", "Scan") or node.domain not in ("", "ai.onnx"):
        return onnx_type(node.outputs[index])
    return _input(node, _AS_INPUT.get(operator, 0), found)


def _quantized(node: ir.Node, found: Types) -> str:
    """Int8, unless another quantised type is asked for."""
    name = _named(node, "output_dtype") or _input(node, 2, found) or "int8"
    return "int8" if name in ("uint8", "int32") else name


def _named(node: ir.Node, attribute: str) -> str | None:
    number = node.attributes.get_int(attribute, 0)
    return ir.DataType(number).name.lower() if number else None


def _input(node: ir.Node, index: int, found: Types) -> str | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else found.get(value)
