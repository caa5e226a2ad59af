"""An FP16 graph as an FP32 one that rounds as it does, for engines that have no FP16 arithmetic of their own.

ONNX Runtime runs FP16 operators on a CPU in FP32 and drops the rounding between some of them, so that a number too
large for FP16 may pass there and be infinite on a GPU: 300 * 300 * 0.001, two products in a row, is 90. Casts that a
graph spells out are kept. What remains different from a GPU is inside an operator: products are summed in FP32 here.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.match import scope_of

FP16_EMULATED = "FP16 rounding in FP32 arithmetic: accuracy as on a GPU, latency not"
"""What a bundle of such a graph says of itself."""

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_EXACT = {"Reshape", "Transpose", "Gather", "Slice", "Concat", "Relu", "MaxPool", "Pad", "ReduceMax", "TopK"}
"""Operators that make no new numbers, so that nothing is left to round."""


def emulate_fp16(graph: Graph) -> None:
    """Turn an FP16 graph, in place, into FP32 operators with a rounding to FP16 behind each that makes new numbers."""
    model = graph.model
    constants: dict[ir.Value, ir.Value] = {}
    for node in list(model.graph):
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == _HALF and ir.convenience.get_const_tensor(value) is not None:
                if value not in constants:
                    constants[value] = _widened(model.graph, node, value)
                node.replace_input_with(index, constants[value])
        if node.op_type == "Cast" and node.attributes["to"].as_int() == int(_HALF):
            _round_behind(model.graph, node, node.outputs[0])
            continue
        for output in node.outputs:
            if output.dtype != _HALF:
                continue
            output.type = ir.TensorType(_FLOAT)  # a new one: copies of a graph share theirs
            if node.op_type not in _EXACT:
                _round_behind(model.graph, node, output)
    RemoveUnusedNodesPass()(model)


def _widened(graph: ir.Graph, reader: ir.Node, value: ir.Value) -> ir.Value:
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None
    name = (value.name or "constant").removeprefix(f"{scope_of(reader)}.")
    return Writer(graph, scope_of(reader)).constant(tensor.numpy(), f"{name}.emulated", np.float32)


def _round_behind(graph: ir.Graph, node: ir.Node, output: ir.Value) -> None:
    """Whoever reads `output` reads it rounded to FP16, as FP32; what a cast to FP16 made is rounded already."""
    readers = [(use.node, use.idx) for use in output.uses()]
    if not readers:
        return
    following = next(other for other in graph if any(value is output for value in other.inputs))
    writer = Writer(graph, scope_of(node), before=following)
    half = output
    if output.dtype != _HALF:
        half = writer.op("Cast", [output], dtype=_HALF, shape=dims(output), to=int(_HALF))
    back = writer.op("Cast", [half], shape=dims(output), to=int(_FLOAT))
    for reader, index in readers:
        reader.replace_input_with(index, back)
