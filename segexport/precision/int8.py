"""INT8 as QuantizeLinear/DequantizeLinear pairs around layers, in the form that a target's kernels take.

Source: Jacob et al. 2018 (arXiv:1712.05877), section 2, r = S (q - Z); NVIDIA's "Working with Quantized Types" for the
patterns TensorRT fuses: symmetric, zero point 0, constant scales, one for each output channel of a weight, pairs at the
inputs of convolutions and linear layers. Products of attention, softmax and norms stay in the higher precision.

A pair stands where its value is made, before the reshapes and transposes on the way to the layers, so that what several
layers read is quantised once. The residual sum is never quantised: only what a norm makes of it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.errors import PrecisionError
from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.match import scope_of
from segexport.precision.fp16 import require_finite
from segexport.precision.layers import Kind, Layer
from segexport.precision.placement import Placement, placed
from segexport.precision.ranges import Range, Ranges

_MOVES = ("Reshape", "Transpose")
_LEVELS = 127
_OPSET_FP16_SCALES = 19
"""From this opset on, QuantizeLinear and DequantizeLinear take FP16."""


@dataclass(frozen=True)
class Form:
    """How a target likes INT8: unsigned activations with a zero point, or signed ones around 0; what it cannot do well.

    Weights are whole numbers up to `weight_levels` either way. With `attention_whole` no pair stands between an
    attention's product and the moves that put its heads together.
    """

    unsigned: bool
    without: frozenset[Kind] = frozenset()
    weight_levels: int = 127
    attention_whole: bool = False


FORMS: Mapping[str, Form] = {
    # Depthwise convolutions in INT8 become dense ones there, with four times the weights. Attention whose output alone
    # is quantised is not fused; behind its heads' reshape it is.
    "tensorrt": Form(unsigned=False, without=frozenset({"depthwise"}), attention_whole=True),
    # x86 CPUs without VNNI add two products of 8 by 8 bits in 16 and clip: weights of 7 bits never reach that. What
    # ONNX Runtime calls reduce_range and NNCF the overflow fix; docs/precision.md has what it saves and costs.
    "openvino": Form(unsigned=True, weight_levels=63),
    "onnxruntime": Form(unsigned=True, weight_levels=63),
}


def to_int8(graph: Graph, placement: Placement, ranges: Ranges, form: Form) -> tuple[str, ...]:
    """Put Q/DQ pairs around the placement's layers, in place; scales have the type of what they scale.

    Args:
        graph: in FP32 or FP16, rewritten for its engine.
        placement: which layers.
        ranges: what their inputs were on calibration images.
        form: how the target likes it.

    Returns:
        The layers that are in INT8 now: those of the placement that this graph has and this target takes.

    Raises:
        PrecisionError: a layer without a range, or a weight that is NaN or infinite.
    """
    model = graph.model
    require_finite(model.graph)
    chosen = placed(model.graph, placement, form.without)
    missing = next((layer.name for layer in chosen if layer.name not in ranges.layers), None)
    if missing is not None:
        raise PrecisionError(
            f"the calibration table has no range of {missing}: calibrate again with segexport calibrate"
        )
    for value, readers in _sources(chosen, form.attention_whole).items():
        found = [ranges.layers[layer.name] for layer in readers.layers]
        _quantise_activation(model.graph, value, readers.nodes, found, form)
    for layer in chosen:
        _quantise_weight(model.graph, layer, form.weight_levels)
    if any(layer.input.dtype == ir.DataType.FLOAT16 for layer in chosen):
        _require_opset(model, _OPSET_FP16_SCALES)
    RemoveUnusedNodesPass()(model)
    return tuple(layer.name for layer in chosen)


@dataclass
class _Readers:
    """Who reads a quantised value: the layers in the end, and the nodes that take it from where it is made."""

    layers: list[Layer]
    nodes: list[ir.Node]


def _sources(chosen: list[Layer], attention_whole: bool) -> dict[ir.Value, _Readers]:
    """Where each layer's input is made, upwards through moves that only lead to layers in INT8."""
    edges = {layer.node for layer in chosen}
    sources: dict[ir.Value, _Readers] = {}
    for layer in chosen:
        value, reader = layer.input, layer.node
        while (node := value.producer()) is not None and node.op_type in _MOVES and _only_quantised(value, edges):
            assert node.inputs[0] is not None
            value, reader = node.inputs[0], node
        if attention_whole and _is_product(value.producer()):
            value, reader = layer.input, layer.node
        readers = sources.setdefault(value, _Readers([], []))
        readers.layers.append(layer)
        if reader not in readers.nodes:
            readers.nodes.append(reader)
    return sources


def _is_product(node: ir.Node | None) -> bool:
    """Whether it multiplies two computed values, as attention does."""
    if node is None or node.op_type != "MatMul" or node.inputs[1] is None:
        return False
    return ir.convenience.get_const_tensor(node.inputs[1]) is None


def _only_quantised(value: ir.Value, edges: set[ir.Node]) -> bool:
    if value.is_graph_output():
        return False
    return all(
        use.idx == 0
        and (use.node in edges or (use.node.op_type in _MOVES and _only_quantised(use.node.outputs[0], edges)))
        for use in value.uses()
    )


def _quantise_activation(
    graph: ir.Graph, value: ir.Value, readers: list[ir.Node], found: list[Range], form: Form
) -> None:
    low, high = min(one.bounds[0] for one in found), max(one.bounds[1] for one in found)
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    if form.unsigned:
        scale, kind, stored = (high - low) / 255, np.uint8, ir.DataType.UINT8
        zero = round(-low / scale)
    else:
        scale, kind, stored, zero = max(one.magnitude for one in found) / _LEVELS, np.int8, ir.DataType.INT8, 0
    writer = Writer(graph, scope_of(readers[0]), before=_first(graph, readers))
    constants = [
        writer.constant(_representable(np.array(scale), dtype), "input_scale", dtype.numpy().type),
        writer.constant(zero, "input_zero_point", kind),
    ]
    shape = dims(value)
    quantised = writer.op("QuantizeLinear", [value, *constants], dtype=stored, shape=shape)
    restored = writer.op("DequantizeLinear", [quantised, *constants], dtype=dtype, shape=shape)
    for node in readers:
        node.replace_input_with(0, restored)


def _quantise_weight(graph: ir.Graph, layer: Layer, levels: int) -> None:
    """Integers in the file, and a scale for each output channel."""
    weight = layer.node.inputs[1]
    dtype = ir.DataType.FLOAT if weight is None or weight.dtype is None else weight.dtype
    numbers = layer.weight.astype(np.float64)
    others = tuple(axis for axis in range(numbers.ndim) if axis != layer.axis)
    magnitude = np.abs(numbers).max(others)
    scale = _representable(np.where(magnitude > 0, magnitude, 1.0) / levels, dtype)
    shape = [1] * numbers.ndim
    shape[layer.axis] = -1
    integers = np.clip(np.rint(numbers / scale.reshape(shape)), -levels, levels)
    writer = Writer(graph, layer.name, before=layer.node)
    constants = [
        writer.constant(integers, "weight_int8", np.int8),
        writer.constant(scale, "weight_scale", dtype.numpy().type),
        writer.constant(np.zeros(scale.shape), "weight_zero_point", np.int8),
    ]
    restored = writer.op("DequantizeLinear", constants, dtype=dtype, shape=list(numbers.shape), axis=layer.axis)
    layer.node.replace_input_with(1, restored)


def _representable(scale: npt.NDArray[np.float64], dtype: ir.DataType) -> npt.NDArray[np.float64]:
    """The scale as the graph will hold it: integers are made with that.

    Among FP16's subnormal numbers the nearest may be a third smaller, which would clip: there the next larger is taken.
    """
    kind = dtype.numpy()
    rounded = scale.astype(kind)
    short = rounded.astype(np.float64) * (_LEVELS + 0.5) < scale * _LEVELS
    held: npt.NDArray[np.float64] = np.where(short, np.nextafter(rounded, kind.type(np.inf)), rounded).astype(
        np.float64
    )
    return held


def _first(graph: ir.Graph, nodes: list[ir.Node]) -> ir.Node:
    wanted = set(nodes)
    return next(node for node in graph if node in wanted)


def _require_opset(model: ir.Model, version: int) -> None:
    """Nothing the exporter or the passes write changed its meaning from opset 18 to 19."""
    model.opset_imports[""] = max(model.opset_imports[""], version)
