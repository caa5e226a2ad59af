"""Operators: which a target has, and which of their attributes."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx

from segexport.lint.checks.case import Case, Sites, at, listed


def missing_operators(case: Case) -> Sites:
    """ONNX's own operators that the target's parser lacks, or gets in a later version."""
    for node in case.graph.nodes:
        name = node.op_type
        if node.domain not in ("", "ai.onnx") or name in case.operators.names:
            continue
        if name in case.operators.since:
            yield at(node, f"comes with TensorRT {'.'.join(map(str, case.operators.since[name]))}")
        elif name in case.parameters["instead"]:
            yield at(node, f"is not there; instead: {case.parameters['instead'][name]}")
        else:
            yield at(node, "is not there")


def foreign_operators(case: Case) -> Sites:
    """Operators of other domains, unless their name is one that the parser knows."""
    for node in case.graph.nodes:
        if node.domain not in ("", "ai.onnx") and node.op_type not in case.operators.names:
            yield at(node, f"is an operator of {node.domain}")


def ignored_domains(case: Case) -> Sites:
    """Operators of other domains whose name the parser knows."""
    for node in case.graph.nodes:
        if node.domain not in ("", "ai.onnx", "trt") and node.op_type in case.operators.names:
            yield at(node, f"is an operator of {node.domain}")


def newer_operators(case: Case) -> Sites:
    """Operators that the opset which the file names has not yet."""
    for node in case.graph.nodes:
        if node.domain in ("", "ai.onnx") and node.op_type in case.operators.names:
            first = _first_opsets().get(node.op_type)
            if first is not None and first > case.graph.opset:
                yield at(node, f"came with opset {first}, and the file says opset {case.graph.opset}")


@functools.cache
def _first_opsets() -> dict[str, int]:
    found: dict[str, int] = {}
    for one in onnx.defs.get_all_schemas_with_history():
        if one.domain == "":
            found[one.name] = min(one.since_version, found.get(one.name, one.since_version))
    return found


def opset_too_new(case: Case) -> Sites:
    """An opset beyond what NVIDIA promises; the first node stands for all."""
    newest = case.target.opsets[1]
    if newest is not None and case.graph.opset > newest and case.graph.nodes:
        yield at(case.graph.nodes[0], f"is of opset {case.graph.opset}, as all others, beyond {newest}")


def opset_too_old(case: Case) -> Sites:
    """An opset older than the parser is made for; the first node stands for all."""
    oldest = case.target.opsets[0]
    if case.graph.opset < oldest and case.graph.nodes:
        yield at(case.graph.nodes[0], f"is of opset {case.graph.opset}, as all others, before {oldest}")


def extra_outputs(case: Case) -> Sites:
    """Operators of which TensorRT makes one output only."""
    for node in case.graph.of(*case.parameters["operators"]):
        if any(value.name for value in node.outputs[1:]):
            yield at(node, f"has {len(node.outputs)} outputs")


def attributes(case: Case) -> Sites:
    """Attributes with a value that is not among the allowed ones."""
    name, allowed = case.parameters["attribute"], case.parameters["allowed"]
    for node in case.graph.of(*case.parameters["operators"]):
        attribute = node.attributes.get(name)
        value = case.parameters["default"] if attribute is None else attribute.value
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if any(one not in allowed for one in values):
            shown = listed(list(map(str, values)))
            yield at(node, f"has {name}={shown}")


def control_flow(case: Case) -> Sites:
    """Operators that hold graphs."""
    for node in case.graph.of(*case.parameters["operators"]):
        yield at(node, "holds graphs of its own")


def einsum_forms(case: Case) -> Sites:
    """Equations with an ellipsis or a repeated index, and those that broadcast."""
    for node in case.graph.of("Einsum"):
        equation = node.attributes.get_string("equation", "").replace(" ", "")
        terms = equation.partition("->")[0].split(",")
        if "..." in equation or any(len(set(term)) < len(term) for term in terms):
            yield at(node, f"computes {equation}")


CHECKS = (
    *(missing_operators, foreign_operators, ignored_domains, newer_operators, opset_too_new, opset_too_old),
    *(extra_outputs, attributes, control_flow, einsum_forms),
)
