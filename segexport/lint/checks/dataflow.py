"""Where shapes come from: constants, other shapes, or data."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from segexport.lint.checks.case import Case, Sites, at
from segexport.lint.subject import Subject, input_of

_FLOATS = {"float", "float16", "bfloat16"}
_SELECTING = {"ArgMax", "ArgMin", "TopK"}
"""Operators that turn floating-point data into integers which TensorRT takes for a shape."""


@dataclass(frozen=True)
class Origin:
    """What makes a shape: integer inputs of the graph, or floating-point data, selected from or cast and compared."""

    inputs: bool
    casts: bool
    selections: bool


def axes_not_constant(case: Case) -> Sites:
    """Axes and depths that are computed from the graph's inputs."""
    unknown = _decided(case.graph, open_shapes=True)
    for operator, index in case.parameters["inputs"].items():
        for node in case.graph.of(operator):
            if input_of(node, index) in unknown:
                yield at(node, "has an axis or depth that is computed")


def shapes_from_floats(case: Case) -> Sites:
    """Shapes that floating-point data were cast to, or compared for."""
    for node, origin in _shapes(case):
        if origin.casts:
            yield at(node, "takes its shape from floating-point data")


def shape_inputs(case: Case) -> Sites:
    """Shapes that an input of integers gives."""
    for node, origin in _shapes(case):
        if origin.inputs and not origin.casts and not origin.selections:
            yield at(node, "takes its shape from an input")


def data_dependent_shapes(case: Case) -> Sites:
    """Shapes that ArgMax and its like compute from data."""
    for node, origin in _shapes(case):
        if origin.selections and not origin.casts:
            yield at(node, "takes its shape from data")


def resizes_by_data(case: Case) -> Sites:
    """The same for Resize."""
    for site in data_dependent_shapes(case):
        if site.operator == "Resize":
            yield site


def _shapes(case: Case) -> list[tuple[ir.Node, Origin]]:
    """Nodes whose shape data decide."""
    decided = _decided(case.graph)
    found = []
    for node in case.graph.of(*case.parameters["inputs"]):
        indices = case.parameters["inputs"][node.op_type]
        values = [value for index in indices if (value := input_of(node, index)) in decided and value is not None]
        if values:
            found.append((node, _origin(case.graph, values, decided)))
    return found


def _origin(graph: Subject, values: list[ir.Value], decided: set[ir.Value]) -> Origin:
    """Follow integers back to where they begin."""
    inputs = casts = selections = False
    waiting, seen = list(values), set(values)
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if graph.type(value) in _FLOATS:  # the scales of Resize, a Range of floats
            casts = True
        elif node is None:
            inputs = True
        else:
            read = [one for one in node.inputs if one is not None and one in decided]
            integers = [one for one in read if graph.type(one) not in _FLOATS]
            casts |= len(integers) < len(read) and node.op_type not in _SELECTING
            selections |= len(integers) < len(read) and node.op_type in _SELECTING
            waiting += [one for one in integers if one not in seen]
            seen.update(integers)
    return Origin(inputs, casts, selections)


def _decided(graph: Subject, *, open_shapes: bool = False) -> set[ir.Value]:
    """Values that the numbers in an input decide, and not only shapes and constants.

    With `open_shapes`, also those that shapes decide which are not known when the engine is built.
    """
    found = set(graph.inputs())
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size"):
            decided = any(value in found for value in node.inputs)
        else:
            shape = graph.shape(node.inputs[0])
            decided = open_shapes and (shape is None or not all(isinstance(side, int) for side in shape))
        if decided:
            found.update(node.outputs)
    return found


CHECKS = (axes_not_constant, shapes_from_floats, shape_inputs, data_dependent_shapes, resizes_by_data)
