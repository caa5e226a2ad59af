"""Graphs that tell about a graph: copies of it that put out layers' inputs, peaks, or the error of quantising them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.graph.build import Writer
from segexport.graph.graph import Graph
from segexport.graph.postprocess import SCOPE
from segexport.passes.match import scope_of
from segexport.precision.layers import Layer, layers
from segexport.precision.ranges import METHODS, Method

LOGITS = "network_logits"
MAXIMA, MINIMA, SQUARES = "segexport_maxima", "segexport_minima", "segexport_squares"
ERRORS, SIGNALS = "segexport_errors", "segexport_signals"
_MOVES = {"Reshape", "Transpose", "Cast", "Shape", "Slice", "Gather", "Concat"}
_BUDGET = 256 << 20
"""Bytes of activations that one probe puts out at a time: the graph is run again for the rest."""


def peaks_probe(graph: Graph) -> tuple[ir.Model, tuple[str, ...]]:
    """A model whose outputs tell the peak of every activation, and each one's module.

    Outputs: the largest number of each activation [activations] and the smallest; and of what layers read (see
    `layer_inputs`) the sum of squares [inputs], which is NaN wherever a number is.
    """
    model = graph.model.clone()
    outputs = _add_extremes(model)
    by_name = _by_name(model)
    outputs.append(_add_reductions(model, [by_name[name] for name in layer_inputs(graph)], "ReduceSumSquare", SQUARES))
    _keep_outputs(model, outputs)
    return model, modules_of(graph)


def modules_of(graph: Graph) -> tuple[str, ...]:
    """The module of every activation whose peak a probe puts out, in the order of its outputs."""
    return tuple(scope_of(node) for node, _ in _activations(graph.model.graph))


def layer_inputs(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The values that layers read, by name, and which layers read each."""
    readers: dict[str, list[str]] = {}
    for layer in layers(graph.model.graph):
        readers.setdefault(layer.input.name or "", []).append(layer.name)
    return {value: tuple(names) for value, names in readers.items()}


def input_probes(graph: Graph, *, with_peaks: bool = False) -> Iterator[tuple[ir.Model, dict[str, tuple[str, ...]]]]:
    """Models whose outputs are layers' inputs, each small enough; and which layers read each output.

    With peaks, the first puts out the largest and the smallest number of every activation too.
    """
    readers = layer_inputs(graph)
    by_name = _by_name(graph.model)
    group: list[str] = []
    filled = 0
    for name in readers:
        size = _bytes(by_name[name])
        if group and filled + size > _BUDGET:
            yield _inputs(graph, group, with_peaks), {one: readers[one] for one in group}
            group, filled, with_peaks = [], 0, False
        group.append(name)
        filled += size
    yield _inputs(graph, group, with_peaks), {one: readers[one] for one in group}


def errors_probe(graph: Graph, thresholds: Mapping[str, Mapping[Method, float]]) -> tuple[ir.Model, tuple[str, ...]]:
    """A model that computes every layer with its input in INT8 too, once for each method.

    Outputs: the sum of squares of each layer's output [layers]; of what each method's rounding and clipping of the
    input changes in it [layers * methods]; and the network's logits.
    """
    model = graph.model.clone()
    nodes = list(model.graph)
    behind = dict(itertools.pairwise(nodes))
    found = [layer for layer in layers(model.graph) if layer.name in thresholds]
    signals, errors = [], []
    for layer in found:
        writer = Writer(model.graph, f"{ERRORS}.{layer.name}", before=behind.get(layer.node))
        signals.append(_power(writer, layer.node.outputs[0]))
        clipped: dict[float, ir.Value] = {}  # methods often agree
        for threshold in (thresholds[layer.name][method] for method in METHODS):
            if threshold not in clipped:
                changed = _with_rounded_input(writer, layer, threshold)
                clipped[threshold] = _power(writer, writer.op("Sub", [changed, layer.node.outputs[0]]))
            errors.append(clipped[threshold])
    outputs = [_add_output(model.graph, signals, SIGNALS), _add_output(model.graph, errors, ERRORS)]
    _keep_outputs(model, [*outputs, _logits(model)])
    return model, tuple(layer.name for layer in found)


def logits_probe(graph: Graph) -> ir.Model:
    """A model that ends at the network's logits, before they are resized; they may be the contract's own output."""
    model = graph.model.clone()
    _keep_outputs(model, [_logits(model)])
    return model


def _logits(model: ir.Model) -> ir.Value:
    by_name = _by_name(model)
    return by_name[LOGITS] if LOGITS in by_name else by_name["logits"]


def _by_name(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name or "": value for node in model.graph for value in node.outputs}


def _bytes(value: ir.Value) -> int:
    return 4 * math.prod(side for side in (value.shape or ()) if isinstance(side, int))


def _activations(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Every float that a node makes, and the node; what it only moves is its input's.

    So are the class planes at the image's size: interpolation goes no further than what it reads, and they are the
    largest activation of all.
    """
    for node in graph:
        for value in node.outputs:
            if node.op_type not in _MOVES and value.dtype == ir.DataType.FLOAT:
                planes = node.inputs[0] if node.op_type == "Resize" and scope_of(node) == SCOPE else None
                yield node, planes or value


def _inputs(graph: Graph, names: Sequence[str], with_peaks: bool) -> ir.Model:
    model = graph.model.clone()
    extremes = _add_extremes(model) if with_peaks else []
    by_name = _by_name(model)
    _keep_outputs(model, [*extremes, *(by_name[name] for name in names)])
    return model


def _add_extremes(model: ir.Model) -> list[ir.Value]:
    values = [value for _, value in _activations(model.graph)]
    reductions = ((MAXIMA, "ReduceMax"), (MINIMA, "ReduceMin"))
    return [_add_reductions(model, values, operator, name) for name, operator in reductions]


def _add_reductions(model: ir.Model, values: Sequence[ir.Value], operator: str, name: str) -> ir.Value:
    """Reduce each value right behind the node that makes it, so that it is let go before the next ones are made."""
    writer = Writer(model.graph, name)
    found = []
    for value in values:
        scalar = writer.op(operator, [value], shape=[], keepdims=0)
        reduction, maker = scalar.producer(), value.producer()
        assert reduction is not None
        assert maker is not None
        model.graph.remove(reduction)
        model.graph.insert_after(maker, reduction)
        found.append(scalar)
    return _add_output(model.graph, found, name)


def _keep_outputs(model: ir.Model, values: Sequence[ir.Value]) -> None:
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    RemoveUnusedNodesPass()(model)


def _add_output(graph: ir.Graph, scalars: Sequence[ir.Value], name: str) -> ir.Value:
    writer = Writer(graph, name)
    one = writer.constant([1], f"{name}_shape", np.int64)
    rows = [writer.op("Reshape", [value, one], shape=[1]) for value in scalars]
    output = writer.op("Concat", rows, shape=[len(rows)], axis=0)
    output.name = name
    return output


def _power(writer: Writer, value: ir.Value) -> ir.Value:
    return writer.op("ReduceSumSquare", [value], shape=[], keepdims=0)


def _with_rounded_input(writer: Writer, layer: Layer, threshold: float) -> ir.Value:
    scale = writer.constant((threshold or 1.0) / 127, "scale", np.float32)
    zero = writer.constant(0, "zero", np.int8)
    integers = writer.op("QuantizeLinear", [layer.input, scale, zero], dtype=ir.DataType.INT8)
    rounded = writer.op("DequantizeLinear", [integers, scale, zero])
    attributes: dict[str, Any] = {name: attr.value for name, attr in layer.node.attributes.items()}
    return writer.op(layer.node.op_type, [rounded, *layer.node.inputs[1:]], **attributes)
