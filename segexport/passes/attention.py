"""Recognising attention as PyTorch's exporter writes it, in FP32 or lowered, for the passes that rewrite it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from segexport.graph.build import dims
from segexport.passes.match import attribute, constant, only_reader, produced_by, require


@dataclass(frozen=True)
class Attention:
    """softmax(scale * queries keysᵀ) values, head by head; tokens are [N, tokens, heads * size]."""

    queries: ir.Value
    keys: ir.Value
    values: ir.Value
    heads: int
    scale: float
    scores: ir.Node
    """queries keysᵀ, before the scale."""
    product: ir.Node
    """The softmax's product with the values."""
    last: ir.Node
    """What puts the heads together again."""

    @property
    def result(self) -> ir.Value:
        """The attention's output, tokens too."""
        return self.last.outputs[0]


def softmaxes(graph: ir.Graph) -> list[ir.Node]:
    """The softmaxes that stand between two products, those of attention; the one over class scores is none."""
    return [node for node in graph if node.op_type == "Softmax" and _product_of(node.outputs[0]) is not None]


def cast_to(value: ir.Value | None, dtype: ir.DataType) -> ir.Value | None:
    """What `value` is the cast to `dtype` of, where nothing else reads that; `value` itself where it is none."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Cast" or attribute(node, "to", 0) != int(dtype):
        return value
    return produced_by(value, "Cast").inputs[0]


def product_of(softmax: ir.Node) -> ir.Node:
    """The product with the values behind one of `softmaxes`."""
    product = _product_of(softmax.outputs[0])
    assert product is not None
    return product


def match(softmax: ir.Node) -> Attention:
    """The attention around `softmax`.

    Raises:
        Decline: it is written in another way, or something else reads what is inside.
    """
    require(attribute(softmax, "axis", -1) in (-1, 3), "the softmax is not over the keys")
    value, scale = cast_to(softmax.inputs[0], ir.DataType.FLOAT), 1.0
    scaling = value.producer() if value is not None else None
    if scaling is not None and scaling.op_type in ("Mul", "Div"):
        scaling = produced_by(value, scaling.op_type)
        number = constant(scaling.inputs[1], "the scale of the scores")
        require(number.size == 1, "the scale of the scores is not one number")
        scale = float(number.reshape(-1)[0]) if scaling.op_type == "Mul" else 1 / float(number.reshape(-1)[0])
        value = scaling.inputs[0]
    scores = produced_by(value, "MatMul")
    product = product_of(softmax)
    weights = cast_to(product.inputs[0], ir.DataType.FLOAT16)
    require(weights is softmax.outputs[0], "the softmax is not the product's first operand")
    produced_by(weights, "Softmax")
    queries, heads = _tokens(scores.inputs[0], (0, 2, 1, 3))
    keys, heads_of_keys = _tokens(scores.inputs[1], (0, 2, 3, 1))
    values, heads_of_values = _tokens(product.inputs[1], (0, 2, 1, 3))
    require(heads == heads_of_keys == heads_of_values, "queries, keys and values have not as many heads")
    transpose = only_reader(product)
    require(
        transpose.op_type == "Transpose" and attribute(transpose, "perm", None) == (0, 2, 1, 3),
        "the heads are not put together by a transpose",
    )
    reshape = only_reader(transpose)
    require(reshape.op_type == "Reshape", "the heads are not put together by a reshape")
    require(dims(reshape.outputs[0]) == dims(queries), "the result has another shape than the queries")
    require(not reshape.outputs[0].is_graph_output(), "it is an output of the graph")
    return Attention(queries, keys, values, heads, scale, scores, product, reshape)


def _product_of(weights: ir.Value) -> ir.Node | None:
    """The first product that reads the softmax's result, as it is or cast."""
    for use in weights.uses():
        if use.node.op_type == "MatMul":
            return use.node
        if use.node.op_type == "Cast" and (found := _product_of(use.node.outputs[0])) is not None:
            return found
    return None


def _tokens(value: ir.Value | None, wanted: tuple[int, ...]) -> tuple[ir.Value, int]:
    """[N, tokens, heads * size] behind `value`, which is it in heads, dimensions in the order `wanted`; and heads."""
    order = tuple(range(4))
    while value is not None and (node := value.producer()) is not None and node.op_type == "Transpose":
        perm = attribute(produced_by(value, "Transpose"), "perm", None)
        require(isinstance(perm, tuple) and len(perm) == 4, "a transpose is not of four dimensions")
        assert isinstance(perm, tuple)
        order = tuple(perm[i] for i in order)
        value = node.inputs[0]
    require(order == wanted, "queries, keys or values are not split into heads in the usual order")
    reshape = produced_by(value, "Reshape")
    tokens, split = reshape.inputs[0], reshape.outputs[0]
    require(tokens is not None and tokens.shape is not None and len(tokens.shape) == 3, "tokens have another shape")
    assert tokens is not None
    count, heads = dims(split)[1:3]
    require(isinstance(heads, int), "the number of heads is not known")
    require(count == dims(tokens)[1], "the heads are split from more than the channels")
    return tokens, int(heads)
