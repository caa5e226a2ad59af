"""Graphs by hand whose nodes have modules, ranges to lower them with, and what their types really are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from segexport.graph.graph import Graph
from segexport.precision.ranges import METHODS, ImageSet, Range, Ranges
from tests.passes.handmade import graph_of

FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
FP32_BY_DEFINITION = {"Resize": (1, 2)}
"""Inputs that ONNX defines as floats whatever the operator computes in: region and scales."""


def modules(signature: str, body: str, constants: Mapping[str, np.ndarray]) -> Graph:
    """A graph by hand; every node is a module of its own, named as its output."""
    graph = graph_of(signature, body, constants)
    for node in graph.model.graph:
        node.name = f"{node.outputs[0].name}/{node.op_type}"
    return graph


def around(low: float, high: float, limit: float | None = None) -> Range:
    """A range whose every method has the same threshold."""
    thresholds = dict.fromkeys(METHODS, max(-low, high) if limit is None else limit)
    return Range(low, high, thresholds, dict.fromkeys(METHODS, 30.0), "min-max")


def table(layers: Mapping[str, Range], peaks: Mapping[str, float] | None = None) -> Ranges:
    """Ranges of a graph by hand."""
    images = ImageSet("by hand", 1, 1, 0, "")
    return Ranges("", (32, 32), (32, 32), images, dict(layers), dict(peaks or {}), {}, "min-max")


def proto_of(graph: Graph) -> onnx.ModelProto:
    """The model, checked in full."""
    model = ir.to_proto(graph.model)
    onnx.checker.check_model(model, full_check=True)
    return model


def computed(graph: Graph, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output on ONNX Runtime with its own optimizations, as an engine would run it."""
    session = ort.InferenceSession(proto_of(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))[0]


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
