"""Element types: which there are, which may meet, and which an operator takes."""

from __future__ import annotations

import onnx_ir as ir

from segexport.lint.checks.case import Case, Sites, at, at_value, listed
from segexport.lint.subject import input_of
from segexport.lint.types import onnx_type


def unsupported_types(case: Case) -> Sites:
    """Inputs, constants, outputs and casts of types that do not exist in TensorRT, and not what follows from them."""
    refused = set(case.parameters["types"])
    for kind, values in _outside(case).items():
        for value in values:
            if (name := onnx_type(value)) in refused:
                yield at_value(value, kind, f"is {name}")
    for node in case.graph.nodes:
        name = case.graph.type(node.outputs[0]) if node.outputs else None
        if name in refused and not any(case.graph.type(value) in refused for value in node.inputs):
            yield at(node, f"makes {name}")


def float64(case: Case) -> Sites:
    """Where double precision begins."""
    for kind, values in _outside(case).items():
        for value in values:
            if kind != "output" and onnx_type(value) == "double":
                yield at_value(value, kind, "is float64")
    for node in case.graph.of("Cast"):
        if node.attributes.get_int("to", 0) == ir.DataType.DOUBLE:
            yield at(node, "makes float64")


def _outside(case: Case) -> dict[str, list[ir.Value]]:
    graph = case.graph.model.graph
    outputs = [value for value in graph.outputs if value.producer() is not None]
    return {"input": case.graph.inputs(), "constant": list(graph.initializers.values()), "output": outputs}


def uint8_readers(case: Case) -> Sites:
    """Nodes other than Cast that read uint8 pixels."""
    for node in case.graph.nodes:
        if node.op_type in case.parameters["readers"]:
            continue
        for index, value in enumerate(node.inputs):
            zero_point = node.op_type in ("QuantizeLinear", "DequantizeLinear") and index == 2
            if case.graph.type(value) == "uint8" and not zero_point:
                yield at(node, "reads uint8")


def uint8_inside(case: Case) -> Sites:
    """Uint8 that is made and not given out as it is; what other operators make of uint8 is said of their reading."""
    inputs = set(case.graph.inputs())
    readers = {site.node for site in uint8_readers(case)}
    for node in case.graph.nodes:
        if at(node, "").node in readers:
            continue
        for value in node.outputs:
            if case.graph.type(value) != "uint8":
                continue
            passed = node.op_type == "Identity" and node.inputs[0] in inputs
            if not (value.is_graph_output() and (node.op_type in ("Cast", "CastLike") or passed)):
                yield at(node, "makes uint8 inside the graph")


def mixed_types(case: Case) -> Sites:
    """Inputs of different types that must have one."""
    yield from _mixed(case, dequantized=False)


def dequantized_types(case: Case) -> Sites:
    """The same where DequantizeLinear made one of them."""
    yield from _mixed(case, dequantized=True)


def _mixed(case: Case, *, dequantized: bool) -> Sites:
    everywhere, some = set(case.parameters["all"]), case.parameters["some"]
    for node in case.graph.nodes:
        if node.op_type in everywhere:
            values = list(node.inputs)
        elif node.op_type in some:
            values = [input_of(node, index) for index in some[node.op_type]]
        else:
            continue
        names = [name for value in values if (name := case.graph.type(value)) is not None]
        if len(set(names)) > 1 and dequantized == any(map(_dequantized, values)):
            yield at(node, f"reads {listed(sorted(names))}")


def _dequantized(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    return node is not None and node.op_type == "DequantizeLinear"


def operator_types(case: Case) -> Sites:
    """Operators that do not take the type of what they read."""
    for node in case.graph.nodes:
        taken = case.operators.types.get(node.op_type)
        name = case.graph.type(input_of(node, case.operators.typed_input.get(node.op_type, 0)))
        if taken is not None and name in _JUDGED and name not in taken:
            yield at(node, f"reads {name}, and takes {listed(sorted(taken))}")


_JUDGED = {"float", "float16", "bfloat16", "int32", "int64", "bool", "int8"}
"""The types that operators were tried with; other rules are about the others."""


def input_types(case: Case) -> Sites:
    """Indices and conditions of the wrong type."""
    for operator, inputs in case.parameters["inputs"].items():
        for node in case.graph.of(operator):
            for index, taken in inputs.items():
                name = case.graph.type(input_of(node, int(index)))
                if name is not None and name not in taken:
                    yield at(node, f"reads {name} where it takes {listed(taken)}")


def int8_constants(case: Case) -> Sites:
    """Constants of int8 that something other than DequantizeLinear reads, or that are given out."""
    for node in case.graph.nodes:
        quantizer = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for index, value in enumerate(node.inputs):
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            if tensor is None or tensor.dtype != ir.DataType.INT8:
                continue
            if not (quantizer and (index == 2 or node.op_type == "DequantizeLinear")):
                yield at(node, "reads an int8 constant")


def constant_kinds(case: Case) -> Sites:
    """Constant nodes of a kind that TensorRT has not."""
    for node in case.graph.of("Constant"):
        for name in case.parameters["attributes"]:
            if name in node.attributes:
                yield at(node, f"holds {name}")


def int32_outputs(case: Case) -> Sites:
    """Outputs that TensorRT computes in int32 and the file declares otherwise."""
    for value in _outside(case)["output"]:
        declared = onnx_type(value)
        if case.graph.type(value) == "int32" and declared not in (None, "int32"):
            yield at_value(value, "output", f"is declared {declared} and computed in int32")


def output_types(case: Case) -> Sites:
    """Outputs of another type than the file declares."""
    for value in _outside(case)["output"]:
        declared, found = onnx_type(value), case.graph.type(value)
        if None not in (declared, found) and declared != found and found != "int32":
            yield at_value(value, "output", f"is declared {declared} and comes as {found}")


CHECKS = (
    *(unsupported_types, float64, uint8_readers, uint8_inside, mixed_types, dequantized_types),
    *(operator_types, input_types, int8_constants, constant_kinds, int32_outputs, output_types),
)
