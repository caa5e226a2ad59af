"""Graphs that tell about a graph: copies of it that put out layers' inputs, peaks, or the error of quantising them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.graph.build import Writer
from segexport.graph.graph import Graph
from segexport.passes.match import scope_of
from segexport.precision.layers import Layer, layers
from segexport.precision.ranges import METHODS, Method

LOGITS = "network_logits"
MAXIMA, MINIMA, ERRORS, SIGNALS = "segexport_maxima", "segexport_minima", "segexport_errors", "segexport_signals"
_MOVES = {"Reshape", "Transpose", "Cast", "Shape", "Slice", "Gather", "Concat"}
_BUDGET = 256 << 20
"""Bytes of activations that one probe puts out at a time: the graph is run again for the rest."""


def peaks_probe(graph: Graph) -> tuple[ir.Model, tuple[str, ...]]:
    """A model whose outputs are the largest and the smallest number of every activation, and each one's module."""
    model = graph.model.clone()
    values = [
        (scope_of(node), value)
        for node in model.graph
        for value in node.outputs
        if node.op_type not in _MOVES and value.dtype == ir.DataType.FLOAT
    ]
    for name, operator in ((MAXIMA, "ReduceMax"), (MINIMA, "ReduceMin")):
        writer = Writer(model.graph, name)
        found = [writer.op(operator, [value], shape=[], keepdims=0) for _, value in values]
        _add_output(model.graph, writer, found, name)
    _keep_outputs(model, [value for value in model.graph.outputs if value.name in (MAXIMA, MINIMA)])
    return model, tuple(scope for scope, _ in values)


def input_probes(graph: Graph) -> Iterator[tuple[ir.Model, dict[str, tuple[str, ...]]]]:
    """Models whose outputs are layers' inputs, each small enough; and which layers read each output."""
    readers: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for layer in layers(graph.model.graph):
        name = layer.input.name or ""
        readers.setdefault(name, []).append(layer.name)
        shape = layer.input.shape
        sizes[name] = 4 * math.prod(side for side in (shape or ()) if isinstance(side, int))
    group: list[str] = []
    for name in readers:
        if group and sum(sizes[other] for other in group) + sizes[name] > _BUDGET:
            yield _inputs(graph, group), {one: tuple(readers[one]) for one in group}
            group = []
        group.append(name)
    yield _inputs(graph, group), {one: tuple(readers[one]) for one in group}


def errors_probe(graph: Graph, thresholds: Mapping[str, Mapping[Method, float]]) -> tuple[ir.Model, tuple[str, ...]]:
    """A model that computes every layer with its input in INT8 too, once for each method.

    Outputs: the sum of squares of each layer's output [layers], and of what each method's rounding and clipping of the
    input changes in it [layers * methods].
    """
    model = graph.model.clone()
    found = [layer for layer in layers(model.graph) if layer.name in thresholds]
    writer = Writer(model.graph, ERRORS)
    signals, errors = [], []
    for layer in found:
        signals.append(_power(writer, layer.node.outputs[0]))
        for method in METHODS:
            changed = _with_rounded_input(writer, layer, thresholds[layer.name][method])
            errors.append(_power(writer, writer.op("Sub", [changed, layer.node.outputs[0]])))
    _add_output(model.graph, writer, signals, SIGNALS)
    _add_output(model.graph, writer, errors, ERRORS)
    _keep_outputs(model, [value for value in model.graph.outputs if value.name in (SIGNALS, ERRORS)])
    return model, tuple(layer.name for layer in found)


def logits_probe(graph: Graph) -> ir.Model:
    """A model that ends at the network's logits, before they are resized; they may be the contract's own output."""
    model = graph.model.clone()
    by_name = {value.name: value for node in model.graph for value in node.outputs}
    _keep_outputs(model, [by_name[LOGITS] if LOGITS in by_name else by_name["logits"]])
    return model


def _inputs(graph: Graph, names: Sequence[str]) -> ir.Model:
    model = graph.model.clone()
    by_name = {value.name: value for node in model.graph for value in node.outputs}
    _keep_outputs(model, [by_name[name] for name in names])
    return model


def _keep_outputs(model: ir.Model, values: Sequence[ir.Value]) -> None:
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    RemoveUnusedNodesPass()(model)


def _add_output(graph: ir.Graph, writer: Writer, scalars: Sequence[ir.Value], name: str) -> None:
    one = writer.constant([1], f"{name}_shape", np.int64)
    rows = [writer.op("Reshape", [value, one], shape=[1]) for value in scalars]
    output = writer.op("Concat", rows, shape=[len(rows)], axis=0)
    output.name = name
    graph.outputs.append(output)


def _power(writer: Writer, value: ir.Value) -> ir.Value:
    return writer.op("ReduceSumSquare", [value], shape=[], keepdims=0)


def _with_rounded_input(writer: Writer, layer: Layer, threshold: float) -> ir.Value:
    scale = writer.constant((threshold or 1.0) / 127, "scale", np.float32)
    zero = writer.constant(0, "zero", np.int8)
    integers = writer.op("QuantizeLinear", [layer.input, scale, zero], dtype=ir.DataType.INT8)
    rounded = writer.op("DequantizeLinear", [integers, scale, zero])
    attributes: dict[str, Any] = {name: attr.value for name, attr in layer.node.attributes.items()}
    return writer.op(layer.node.op_type, [rounded, *layer.node.inputs[1:]], **attributes)
