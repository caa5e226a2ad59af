"""QuantizeLinear and DequantizeLinear: symmetric int8 with positive scales."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.lint.checks.case import Case, Sites, at
from segexport.lint.subject import constant, input_of

_BOTH = ("QuantizeLinear", "DequantizeLinear")


def missing_zero_points(case: Case) -> Sites:
    """QuantizeLinear that names its type neither by a zero point nor by an attribute."""
    for node in case.graph.of("QuantizeLinear"):
        if input_of(node, 2) is None and not node.attributes.get_int("output_dtype", 0):
            yield at(node, "has no zero point")


def zero_points(case: Case) -> Sites:
    """Zero points that are not zero."""
    for node in case.graph.of(*_BOTH):
        zero = constant(input_of(node, 2))
        if zero is not None and np.any(zero.astype(np.float32) != 0):
            yield at(node, "has a zero point other than 0")


def uint8_quantizers(case: Case) -> Sites:
    """Zero points of uint8 whose value is 0."""
    for node in case.graph.of(*_BOTH):
        zero = constant(input_of(node, 2))
        if zero is not None and zero.dtype == np.uint8 and not np.any(zero):
            yield at(node, "has a uint8 zero point")


def zero_point_counts(case: Case) -> Sites:
    """One zero point for several scales."""
    for node in case.graph.of(*_BOTH):
        scale, zero = constant(input_of(node, 1)), constant(input_of(node, 2))
        if scale is not None and zero is not None and scale.size != zero.size:
            yield at(node, f"has {scale.size} scales and {zero.size} zero points")


def bad_scales(case: Case) -> Sites:
    """Scales of zero, below, or not a number."""
    for node in case.graph.of(*_BOTH):
        scale = constant(input_of(node, 1))
        if scale is not None and not np.all(scale.astype(np.float32) > 0):
            yield at(node, "has a scale that is not positive")


def infinite_scales(case: Case) -> Sites:
    """Scales beyond every number."""
    for node in case.graph.of(*_BOTH):
        scale = constant(input_of(node, 1))
        if scale is not None and np.any(np.isposinf(scale.astype(np.float32))):
            yield at(node, "has an infinite scale")


def int32_dequantizers(case: Case) -> Sites:
    """Biases that were quantised with their layer."""
    for node in case.graph.of("DequantizeLinear"):
        name = case.graph.type(node.inputs[0])
        if name in ("int32", "int64", "bool", "float", "float16", "bfloat16"):
            yield at(node, f"reads {name}")


def quantized_depthwise(case: Case) -> Sites:
    """Depthwise convolutions between Q/DQ."""
    for node in case.graph.of("Conv"):
        weight = case.graph.shape(input_of(node, 1))
        groups = node.attributes.get_int("group", 1)
        if groups > 1 and weight is not None and weight[0] == groups and is_dequantized(node.inputs[0]):
            yield at(node, "is a depthwise convolution in int8")


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether DequantizeLinear makes `value`, if only a transpose or reshape lies between."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in ("Transpose", "Reshape", "Cast"):
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return node is not None and node.op_type == "DequantizeLinear"


CHECKS = (
    *(missing_zero_points, zero_points, uint8_quantizers, zero_point_counts, bad_scales, infinite_scales),
    *(int32_dequantizers, quantized_depthwise),
)
