"""Keep the feed-forward block in planes: its linear layers as 1x1 convolutions around the depthwise one.

Source: a linear layer on tokens and a 1x1 convolution on planes are the same sums (Lin et al. 2013, arXiv:1312.4400,
section 3.1), and the activation looks at one number at a time. The block is Xie et al. 2021 (arXiv:2105.15203),
section 3.1, "Mix-FFN"; its two changes of layout move 4C channels, and the two that replace them C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.linear import Linear, linear_making, linear_of
from segexport.passes.match import attribute, flattens, only_reader, produced_by, require, scope_of
from segexport.spec import Claim, Declined, PassResult

_POINTWISE = ("Add", "Div", "Erf", "Gelu", "Mul", "Relu", "Sigmoid")
_SWAP = (0, 2, 1)


class PointwiseMlp:
    """Before and after; the change to planes was Transpose and Reshape, and becomes Reshape and Transpose of four
    dimensions, which engines that compute channels last leave out; back to tokens likewise:

    tokens -> MatMul W1 -> Add b1 -> planes -> Conv depthwise -> tokens -> GELU -> MatMul W2 -> Add b2
    tokens -> planes -> Conv W1 + b1 -> Conv depthwise -> GELU -> Conv W2 + b2 -> tokens
    """

    name = "pointwise-mlp"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every feed-forward block of `graph` in place."""
        rewritten, declined = [], []
        for conv in [node for node in graph.model.graph if node.op_type == "Conv"]:
            if not _is_depthwise_on_tokens(conv):
                continue
            name = conv.name or "Conv"
            try:
                block = _match(conv)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            _write(graph.model.graph, block)
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


@dataclass(frozen=True)
class _Block:
    tokens: ir.Value  # [N, HW, C]
    expand: Linear
    conv: ir.Node
    activated: ir.Value  # the convolution's result as tokens
    activation: tuple[ir.Node, ...]
    reduce: Linear


def _is_depthwise_on_tokens(conv: ir.Node) -> bool:
    planes = conv.inputs[0]
    node = planes.producer() if planes is not None else None
    return attribute(conv, "group", 1) != 1 and node is not None and node.op_type in ("Reshape", "Transpose")


def _match(conv: ir.Node) -> _Block:
    to_planes = produced_by(conv.inputs[0], "Reshape")
    to_channels = produced_by(to_planes.inputs[0], "Transpose")
    produced_by(to_channels.inputs[0], "Add")
    expand = linear_making(to_channels.inputs[0])
    flatten = only_reader(conv)
    require(flatten.op_type == "Reshape", "the convolution's planes do not become tokens")
    to_tokens = only_reader(flatten)
    for transpose in (to_channels, to_tokens):
        swaps = transpose.op_type == "Transpose" and attribute(transpose, "perm", None) == _SWAP
        require(swaps, "tokens and channels are not swapped on the way")
    flat = flattens(conv.inputs[0], to_channels.outputs[0]) and flattens(conv.outputs[0], flatten.outputs[0])
    require(flat, "tokens are not the planes' points in their order")
    tokens = expand.product.inputs[0]
    require(tokens is not None and tokens.shape is not None and len(tokens.shape) == 3, "tokens have another shape")
    assert tokens is not None
    activation, product = _activation(to_tokens.outputs[0])
    reduce = linear_of(product)
    require(not reduce.add.outputs[0].is_graph_output(), "its result is an output of the graph")
    return _Block(tokens, expand, conv, to_tokens.outputs[0], activation, reduce)


def _activation(source: ir.Value) -> tuple[tuple[ir.Node, ...], ir.Node]:
    """The operators that act on each number of `source` alone, and the one MatMul that reads what they make."""
    values, pending = {source}, [source]
    nodes: list[ir.Node] = []
    readers: list[ir.Node] = []
    while pending:
        value = pending.pop()
        require(not value.is_graph_output(), "the activation is an output of the graph")
        for use in value.uses():
            if use.node.op_type not in _POINTWISE:
                readers.append(use.node)
            elif use.node not in nodes:
                nodes.append(use.node)
                values.add(use.node.outputs[0])
                pending.append(use.node.outputs[0])
    for operand in (value for node in nodes for value in node.inputs if value not in values):
        tensor = ir.convenience.get_const_tensor(operand) if operand is not None else None
        require(tensor is not None and tensor.size == 1, "the activation mixes in other numbers")
    alone = len(readers) == 1 and readers[0].op_type == "MatMul" and readers[0].inputs[0] in values
    require(alone, "not only a linear layer reads the activation")
    return tuple(nodes), readers[0]


def _write(graph: ir.Graph, block: _Block) -> None:
    conv = block.conv
    assert conv.inputs[0] is not None
    batch, _, height, width = dims(conv.inputs[0])
    channels = len(block.expand.weight)
    writer = Writer(graph, scope_of(block.expand.product), before=conv)
    target = writer.constant([-1, height, width, channels], "planes", np.int64)
    last = writer.op("Reshape", [block.tokens, target], shape=[batch, height, width, channels])
    planes = writer.op("Transpose", [last], shape=[batch, channels, height, width], perm=[0, 3, 1, 2])
    conv.replace_input_with(0, _pointwise(writer, planes, block.expand))
    for node in block.activation:
        for index, value in enumerate(node.inputs):
            if value is block.activated:
                node.replace_input_with(index, conv.outputs[0])
        node.outputs[0].shape = ir.Shape(dims(conv.outputs[0]))
    activated = block.reduce.product.inputs[0]
    assert activated is not None
    activated = conv.outputs[0] if activated is block.activated else activated
    writer = Writer(graph, scope_of(block.reduce.product), before=block.reduce.add)
    reduced = _pointwise(writer, activated, block.reduce)
    batch, channels_out, height, width = dims(reduced)
    count = dims(block.activated)[1]
    last = writer.op("Transpose", [reduced], shape=[batch, height, width, channels_out], perm=[0, 2, 3, 1])
    target = writer.constant([-1, count, channels_out], "tokens", np.int64)
    tokens = writer.op("Reshape", [last, target], shape=[batch, count, channels_out])
    block.reduce.add.outputs[0].replace_all_uses_with(tokens)


def _pointwise(writer: Writer, planes: ir.Value, linear: Linear) -> ir.Value:
    """A linear layer as a 1x1 convolution."""
    weight = writer.constant(linear.weight.T[:, :, None, None], "pointwise_weight", np.float32)
    bias = writer.constant(linear.bias, "pointwise_bias", np.float32)
    batch, _, height, width = dims(planes)
    shape = [batch, len(linear.bias), height, width]
    return writer.op("Conv", [planes, weight, bias], shape=shape, kernel_shape=[1, 1])
