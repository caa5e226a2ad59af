"""FP32 graph -> FP16 graph: weights and compute in half precision, the casts placed here and nowhere else.

Source: IEEE 754-2008 binary16, largest number 65504, 11 significant bits. What is kept in FP32, and why:

- everything before the first layer: pixels are scaled and centred in FP32;
- softmax and means, which sum many small numbers (TensorRT keeps such an attention fused, and accumulates its scores in
  FP32). LayerNormalization computes its statistics in FP32 by itself (`stash_type`, ONNX opset 17);
- whatever makes or reads a number near 65504, as calibration saw it: the modules are named;
- outputs of the contract, whose types do not change with the precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.errors import PrecisionError
from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.graph.preprocess import SCOPE
from segexport.passes.match import scope_of

LARGEST = 65504.0
LIMIT = LARGEST / 4
"""A module that came this near on the images seen is kept in FP32: other images go further."""

_PRODUCTS = {"Conv", "MatMul", "Gemm"}
_FP32_OPERATORS = {"Softmax", "ReduceMean", "ReduceSum", "GlobalAveragePool"}
_ALWAYS_FP32 = {"Resize": (1, 2), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}
"""Inputs that stay FP32 whatever the operator computes in, by index: a Resize's region and scales."""

_INPUT_PEAK = 4.0
"""The first layer's input is brought to about this magnitude by a power of two, which rounds nothing."""

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def to_fp16(graph: Graph, peaks: Mapping[str, float]) -> tuple[str, ...]:
    """Turn `graph` from FP32 to FP16 in place.

    Args:
        graph: the portable graph, in FP32.
        peaks: the largest magnitude that each module's activations had on calibration images (`Ranges.peaks`).

    Returns:
        The modules kept in FP32 because their numbers come near FP16's largest.

    Raises:
        PrecisionError: a weight or a peak is NaN or infinite.
    """
    require_finite(graph.model.graph)
    _require_finite_peaks(peaks)
    nodes = _after_input(graph.model.graph)
    wide = {value for node in nodes for value in node.outputs if peaks.get(scope_of(node), 0.0) >= LIMIT}
    _scale_input(graph.model.graph, nodes[0], peaks)
    converter = _Converter(graph.model.graph)
    kept = []
    guards = set()
    for node in list(nodes):
        if _is_near(node, wide) and node.op_type in _PRODUCTS:
            guards.add(_guard(graph.model.graph, node, nodes, wide))
    for node in nodes:
        near = node in guards or _is_near(node, wide)
        if near and _floats(node):
            kept.append(scope_of(node))
        converter.convert(node, _FLOAT if near or node.op_type in _FP32_OPERATORS else _HALF)
    converter.restore_outputs()
    RemoveUnusedNodesPass()(graph.model)
    return tuple(dict.fromkeys(kept))


def require_finite(graph: ir.Graph) -> None:
    """Refuse weights that are no numbers.

    Raises:
        PrecisionError: names the first that is NaN or infinite.
    """
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype not in (_FLOAT, _HALF):
            continue
        count = int(np.count_nonzero(~np.isfinite(tensor.numpy())))
        if count:
            raise PrecisionError(
                f"{count} of {tensor.size} numbers of {name} are NaN or infinite: "
                "the checkpoint is broken; take an earlier one"
            )


def _require_finite_peaks(peaks: Mapping[str, float]) -> None:
    for name, peak in peaks.items():
        if not math.isfinite(peak):
            raise PrecisionError(f"the activations of {name} are NaN or infinite in FP32 already: check the checkpoint")


def _after_input(graph: ir.Graph) -> list[ir.Node]:
    """The first layer and every node that is not before it, in order; the rest prepares the image."""
    first = next((node for node in graph if node.op_type == "Conv"), None)
    if first is None:
        raise PrecisionError("the graph has no convolution, so it is no SegFormer's: export it with segexport")
    before: set[ir.Node] = set()
    waiting = [first.inputs[0]]
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is not None and node not in before:
            before.add(node)
            waiting += node.inputs
    return [first, *(node for node in graph if node not in before and node is not first)]


def _scale_input(graph: ir.Graph, first: ir.Node, peaks: Mapping[str, float]) -> None:
    """Move a power of two from the first layer's input to its weights, where pixels reach it as they are.

    Weights that carry 1/(255 std) would be so small that FP16 has fewer digits for them.
    """
    value, weight = first.inputs[0], first.inputs[1]
    producer = value.producer() if value is not None else None
    tensor = ir.convenience.get_const_tensor(weight) if weight is not None else None
    peak = peaks.get(scope_of(producer), 0.0) if producer is not None else 0.0
    if tensor is None or value is None or peak <= _INPUT_PEAK:
        return
    factor = 2.0 ** math.ceil(math.log2(peak / _INPUT_PEAK))
    writer = Writer(graph, SCOPE, before=first)
    scale = writer.constant(1 / factor, "to_fp16", np.float32)
    first.replace_input_with(0, writer.op("Mul", [value, scale], shape=dims(value), name="to_fp16"))
    first.replace_input_with(1, writer.constant(tensor.numpy() * factor, "fp16_weight", np.float32))


def _is_near(node: ir.Node, wide: set[ir.Value]) -> bool:
    return _has_wide_constant(node) or any(value in wide for value in (*node.inputs, *node.outputs))


def _guard(graph: ir.Graph, node: ir.Node, nodes: list[ir.Node], wide: set[ir.Value]) -> ir.Node:
    """Put the larger of it and FP32's lowest number behind a product that stays in FP32, which changes nothing.

    TensorRT for RTX 1.7.1 takes a product between casts to and from FP32 for one in FP16, rounds its weights, and those
    beyond 65504 become infinite. With another operator between product and cast it does not, as its plans show; a bias
    in an addition of its own would do for a MatMul, but not for a Conv.
    """
    output = node.outputs[0]
    readers = [(use.node, use.idx) for use in output.uses()]
    known = {reader for reader, _ in readers}
    writer = Writer(graph, scope_of(node), before=next((other for other in graph if other in known), None))
    lowest = writer.constant(np.finfo(np.float32).min, "lowest", np.float32)
    guarded = writer.op("Max", [output, lowest], shape=dims(output), name="kept_in_fp32")
    for reader, index in readers:
        reader.replace_input_with(index, guarded)
    made = guarded.producer()
    assert made is not None
    nodes.insert(nodes.index(node) + 1, made)
    if output in wide:
        wide.add(guarded)
    if output.is_graph_output():
        graph.outputs[list(graph.outputs).index(output)] = guarded
        output.name, guarded.name = f"{output.name}_product", output.name
    return made


def _floats(node: ir.Node) -> bool:
    return any(value.dtype == _FLOAT for value in node.outputs)


def _constants(node: ir.Node) -> Iterator[npt.NDArray[np.floating]]:
    for value in node.inputs:
        tensor = ir.convenience.get_const_tensor(value) if value is not None else None
        if tensor is not None and tensor.dtype == _FLOAT:
            yield tensor.numpy()


def _has_wide_constant(node: ir.Node) -> bool:
    return any(array.size and np.abs(array).max() > LARGEST for array in _constants(node))


class _Converter:
    """Gives nodes a type each, with one cast for each value and type that somebody reads."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._as: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def convert(self, node: ir.Node, dtype: ir.DataType) -> None:
        """Make `node` read and write `dtype` wherever it reads and writes floats."""
        fixed = _ALWAYS_FP32.get(node.op_type, ())
        for index, value in enumerate(node.inputs):
            if value is not None and index not in fixed and value.dtype in (_FLOAT, _HALF):
                node.replace_input_with(index, self._read(value, dtype, node))
        if node.op_type == "Cast" and node.outputs[0].dtype == _FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", int(dtype))
        for value in node.outputs:
            if value.dtype == _FLOAT:
                value.type = ir.TensorType(dtype)  # a new one: copies of a graph share theirs

    def restore_outputs(self) -> None:
        """Give the graph's float outputs the contract's type again."""
        for index, value in enumerate(list(self._graph.outputs)):
            if value.dtype != _HALF:
                continue
            name, value.name = value.name, f"{value.name}_fp16"
            writer = Writer(self._graph, "postprocess")
            output = writer.op("Cast", [value], shape=dims(value), to=int(_FLOAT))
            output.name = name
            self._graph.outputs[index] = output

    def _read(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        if value.dtype == dtype:
            return value
        if (value, dtype) not in self._as:
            tensor = ir.convenience.get_const_tensor(value)
            producer = value.producer()
            if tensor is not None:
                writer = Writer(self._graph, scope_of(reader))
                name = (value.name or "constant").removeprefix(f"{scope_of(reader)}.")
                half = dtype == _HALF
                made = writer.constant(
                    tensor.numpy(), f"{name}.fp16" if half else name, np.float16 if half else np.float32
                )
            else:
                writer = Writer(self._graph, scope_of(producer or reader), before=reader)
                made = writer.op("Cast", [value], dtype=dtype, shape=dims(value), to=int(dtype))
            self._as[value, dtype] = made
        return self._as[value, dtype]
