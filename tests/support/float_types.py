"""What the types of a model really are, and where they mix."""

from __future__ import annotations

import onnx

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
FP32_BY_DEFINITION = {"Resize": (1, 2)}
"""Inputs that ONNX defines as floats whatever the operator computes in: region and scales."""


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every value by name, as ONNX infers it from the inputs and constants alone."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def mixed(model: onnx.ModelProto) -> list[str]:
    """Every operator whose inputs and outputs are not all in one float type, but for casts: what TensorRT refuses."""
    types = types_of(model)
    found = []
    for node in model.graph.node:
        if node.op_type == "Cast":
            continue
        fixed = FP32_BY_DEFINITION.get(node.op_type, ())
        names = [name for index, name in enumerate(node.input) if name and index not in fixed]
        kinds = {types[name] for name in (*names, *node.output)} & FLOATS
        if len(kinds) > 1:
            found.append(node.name)
    return found
