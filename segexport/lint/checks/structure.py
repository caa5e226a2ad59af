"""Graphs that are none: tensors from nowhere, circles, shapes that do not fit."""

from __future__ import annotations

import math
from typing import TypeGuard

import onnx_ir as ir

from segexport.graph.macs import Shape
from segexport.lint.checks.case import Case, Site, Sites, at, at_value


def unknown_tensors(case: Case) -> Sites:
    """Tensors that are read, or given out, and made by nothing."""
    graph = case.graph.model.graph
    known = {*graph.inputs, *graph.initializers.values()}
    for node in case.graph.nodes:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                known.update(attribute.as_graph().inputs, attribute.as_graph().initializers.values())
    for node in case.graph.nodes:
        for value in node.inputs:
            if value is not None and value.producer() is None and value not in known:
                yield at(node, f"reads {value.name}")
    for value in graph.outputs:
        if value.producer() is None and value not in known:
            yield at_value(value, "output", "is made by nothing")


def cycle(case: Case) -> Sites:
    """Nodes of the main graph that cannot be put in an order."""
    nodes = list(case.graph.model.graph)
    needs = {
        node: {maker for v in node.inputs if v is not None and (maker := v.producer()) is not None} for node in nodes
    }
    missing = {node: len(needs[node]) for node in nodes}
    readers: dict[ir.Node, list[ir.Node]] = {}
    for node in nodes:
        for maker in needs[node]:
            readers.setdefault(maker, []).append(node)
    ready = [node for node in nodes if not missing[node]]
    for node in ready:  # grows on the way
        for reader in readers.get(node, ()):
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if stuck := [node for node in nodes if missing[node]]:
        yield at(stuck[0], "is part of a circle, or behind one")


def shapes_disagree(case: Case) -> Sites:
    """Nodes that ONNX's shape inference fails on, and two things that it does not look at."""
    for node, operator, why in case.graph.misfits:
        yield Site(node or "(no name)", operator, why[:1].lower() + why[1:])
    for conv in case.graph.of("Conv"):
        channels, weight = _side(case, conv.inputs[0], 1), _side(case, conv.inputs[1], 1)
        groups = conv.attributes.get_int("group", 1)
        if channels is not None and weight is not None and weight * groups != channels:
            yield at(conv, f"reads {channels} channels with weights for {weight * groups}")
    for reshape in case.graph.of("Reshape"):
        before, after = (case.graph.shape(value) for value in (reshape.inputs[0], reshape.outputs[0]))
        known = [math.prod(shape) for shape in (before, after) if shape is not None and _is_known(shape)]
        if len(known) == 2 and known[0] != known[1]:
            yield at(reshape, f"makes {known[1]} numbers of {known[0]}")


def _side(case: Case, value: ir.Value | None, index: int) -> int | None:
    shape = case.graph.shape(value)
    side = shape[index] if shape is not None and index < len(shape) else None
    return side if isinstance(side, int) else None


def _is_known(shape: Shape) -> TypeGuard[tuple[int, ...]]:
    return all(isinstance(side, int) for side in shape)


def high_rank(case: Case) -> Sites:
    """Inputs and results of too many dimensions."""
    most = case.parameters["most"]
    for value in case.graph.inputs():
        if (found := len(case.graph.shape(value) or ())) > most:
            yield at_value(value, "input", f"has {found} dimensions")
    for node in case.graph.nodes:
        found = max((len(case.graph.shape(value) or ()) for value in node.outputs), default=0)
        if found > most and all(len(case.graph.shape(value) or ()) <= most for value in node.inputs):
            yield at(node, f"makes {found} dimensions")


def low_rank(case: Case) -> Sites:
    """Operators that want more dimensions than they get."""
    for operator, least in case.parameters["least"].items():
        for node in case.graph.of(operator):
            shape = case.graph.shape(node.inputs[0])
            if shape is not None and len(shape) < least:
                yield at(node, f"reads {len(shape)} dimension{'s' * (len(shape) != 1)}, fewer than {least}")


CHECKS = (unknown_tensors, cycle, shapes_disagree, high_rank, low_rank)
