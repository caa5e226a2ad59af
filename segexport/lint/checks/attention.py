"""Attention: MatMul, Softmax, MatMul, and whether TensorRT makes one kernel of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from segexport.graph.macs import Shape
from segexport.lint.checks.case import Case, Sites, at, listed
from segexport.lint.checks.quantization import is_dequantized
from segexport.lint.subject import input_of

_BETWEEN = {"Mul", "Div", "Add", "Cast", "Identity", "Where", "QuantizeLinear", "DequantizeLinear", "Dropout"}
_HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Attention:
    """Scores [..., N, M] of queries [..., N, d], their softmax, and the mix of values."""

    scores: ir.Node
    softmax: ir.Node
    mix: ir.Node


def fp32_attention(case: Case) -> Sites:
    """Attention in float32."""
    for one in _attentions(case):
        if case.graph.type(one.scores.inputs[0]) == "float":
            yield at(one.softmax, "is attention in float32")


def one_head_attention(case: Case) -> Sites:
    """Attention in 16 bits with one head on one image, and few scores."""
    for one in _attentions(case):
        shape = case.graph.shape(one.softmax.inputs[0])
        if case.graph.type(one.scores.inputs[0]) in _HALF and _is_small(shape, case.parameters["scores"]):
            yield at(one.softmax, "is attention with one head and fewer than 2^24 scores")


def attention_head_sizes(case: Case) -> Sites:
    """Attention in 16 bits whose heads are too small or too large."""
    for one in _attentions(case):
        size = (case.graph.shape(one.scores.inputs[0]) or (None,))[-1]
        if case.graph.type(one.scores.inputs[0]) not in _HALF or not isinstance(size, int):
            continue
        if not case.parameters["least"] <= size <= case.parameters["most"]:
            yield at(one.softmax, f"is attention with heads of {size}")


def half_quantized_attention(case: Case) -> Sites:
    """Attention with both sides of the scores, or the softmax, in int8, and not all five tensors."""
    for one in _attentions(case):
        (q, k), (p, v) = (map(is_dequantized, node.inputs[:2]) for node in (one.scores, one.mix))
        mixed = any(use.node.op_type == "QuantizeLinear" for use in one.mix.outputs[0].uses())
        quantized = dict(zip(("q", "k", "p", "v", "the output"), (q, k, p, v, mixed), strict=True))
        if ((q and k) or p) and not all(quantized.values()):
            yield at(
                one.softmax, f"is attention with {listed([name for name, is_ in quantized.items() if is_])} in int8"
            )


def unfused_attention_operators(case: Case) -> Sites:
    """Attention as an operator where no kernel is for it."""
    for node in case.graph.of(*case.parameters["operators"]):
        name = case.graph.type(node.inputs[0])
        if name == "float":
            yield at(node, "is in float32")
        elif name in _HALF and _is_small(_scores_shape(case, node), 1 << 24):
            yield at(node, "has one head and fewer than 2^24 scores")


def shared_attention_inputs(case: Case) -> Sites:
    """Attention as an operator whose queries and keys are one tensor."""
    for node in case.graph.of(*case.parameters["operators"]):
        if _origin(input_of(node, 0)) is _origin(input_of(node, 1)):
            yield at(node, "reads its queries and keys from one tensor")


def _origin(value: ir.Value | None) -> ir.Value | None:
    node = None if value is None else value.producer()
    return _origin(node.inputs[0]) if node is not None and node.op_type == "Identity" else value


def _is_small(shape: Shape | None, enough: int) -> bool:
    """Whether scores [..., N, M] are of one head on one image, and fewer than `enough`."""
    sides = [side for side in shape or () if isinstance(side, int)]
    if shape is None or len(sides) != len(shape) or len(sides) < 2:
        return False
    return math.prod(sides[:-2]) == 1 and math.prod(sides[-2:]) < enough


def _scores_shape(case: Case, node: ir.Node) -> Shape | None:
    """[N, heads, queries, keys] of an Attention operator on [N, heads, S, d], or [N, S, heads * d]."""
    queries, keys = case.graph.shape(input_of(node, 0)), case.graph.shape(input_of(node, 1))
    if queries is None or keys is None or len(queries) != len(keys):
        return None
    heads = node.attributes.get_int("q_num_heads", node.attributes.get_int("num_heads", 0))
    if len(queries) == 3 and heads:
        return (queries[0], heads, queries[1], keys[1])
    return (*queries[:-1], keys[-2]) if len(queries) == 4 else None


def _attentions(case: Case) -> Iterator[Attention]:
    for softmax in case.graph.of("Softmax"):
        scores = _above(softmax.inputs[0])
        mix = _below(softmax.outputs[0])
        if scores is not None and mix is not None:
            yield Attention(scores, softmax, mix)


def _above(value: ir.Value | None) -> ir.Node | None:
    """The product that the scores come from."""
    for _ in range(len(_BETWEEN)):
        node = None if value is None else value.producer()
        if node is None or node.op_type == "MatMul":
            return node
        if node.op_type not in _BETWEEN:
            return None
        first = node.inputs[1] if node.op_type == "Where" else node.inputs[0]
        value = node.inputs[1] if first is None or first.producer() is None else first
    return None


def _below(value: ir.Value) -> ir.Node | None:
    """The product that mixes the values."""
    for _ in range(len(_BETWEEN)):
        readers = [use.node for use in value.uses()]
        if len(readers) != 1 or readers[0].op_type not in (*_BETWEEN, "MatMul"):
            return None
        if readers[0].op_type == "MatMul":
            return readers[0]
        value = readers[0].outputs[0]
    return None


CHECKS = (
    *(fp32_attention, one_head_attention, attention_head_sizes, half_quantized_attention),
    *(unfused_attention_operators, shared_attention_inputs),
)
