"""Fold the affine part of a LayerNorm into the layers that read it.

Source: Ba et al. 2016 (arXiv:1607.06450), section 3, with n = (x - mean) / σ: a LayerNorm gives γ n + β, and a layer
linear in it absorbs both,

    W (γ n + β) + b  =  (W γ) n + (b + W β)

A convolution that pads with zeros cannot: the padding is zero behind the affine part, and β before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.linear import Linear, linear_of
from segexport.passes.match import Float64, attribute, constant, require, scope_of
from segexport.spec import Claim, Declined, PassResult


class FoldLayerNorm:
    """Before and after, for the two norms of a block, the reduced keys and values, and the last stage:

    x -> LayerNorm γ β ┬ MatMul W -> Add b
                       └ Transpose -> Reshape -> Conv V (stride = kernel) + c
    x -> LayerNorm 1   ┬ MatMul γ W -> Add b + β W
                       └ Transpose -> Reshape -> Conv γ V + c + Σ V β
    """

    name = "fold-layer-norm"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every LayerNorm of `graph` in place whose readers all are linear in it."""
        rewritten, declined = [], []
        for norm in [node for node in graph.model.graph if node.op_type == "LayerNormalization"]:
            name = norm.name or "LayerNormalization"
            try:
                gamma, beta = _affine(norm)
                if beta is None and (gamma == 1).all():
                    continue
                layers = _layers(norm.outputs[0], len(dims(norm.outputs[0])) - 1)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            _write(graph.model.graph, norm, gamma, beta, layers)
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


@dataclass(frozen=True)
class _Convolution:
    node: ir.Node
    weight: Float64
    bias: Float64


_Layer = Linear | _Convolution


def _affine(norm: ir.Node) -> tuple[Float64, Float64 | None]:
    """γ and β."""
    output = norm.outputs[0]
    require(output.shape is not None, "its shape is not known")
    sides = dims(output)
    require(attribute(norm, "axis", -1) in (-1, len(sides) - 1), "it is not over the last dimension alone")
    gamma = constant(norm.inputs[1], "its weight")
    beta = constant(norm.inputs[2], "its bias") if len(norm.inputs) > 2 and norm.inputs[2] is not None else None
    require(gamma.shape == (sides[-1],), "its weight is not one number for each channel")
    return gamma, beta


def _layers(value: ir.Value, axis: int) -> list[_Layer]:
    """Every layer that reads `value`, whose channels are dimension `axis`; some through Reshape and Transpose."""
    require(not value.is_graph_output(), "it is an output of the graph")
    require(value.shape is not None, f"the shape of {value.name} is not known")
    found: list[_Layer] = []
    for use in value.uses():
        node = use.node
        if node.op_type in ("Reshape", "Transpose"):
            found += _layers(node.outputs[0], _moved(node, axis))
        elif node.op_type == "MatMul" and use.idx == 0:
            require(axis == len(dims(value)) - 1, f"{node.name} does not multiply its channels")
            found.append(linear_of(node))
        elif node.op_type == "Conv" and use.idx == 0:
            require(axis == 1, f"{node.name} does not multiply its channels")
            found.append(_convolution(node))
        else:
            raise Decline(f"{node.op_type} {node.name} reads it too")
    return found


def _moved(node: ir.Node, axis: int) -> int:
    """Where dimension `axis` of a Reshape's or Transpose's input is in its output."""
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None)
        require(isinstance(order, tuple), f"{node.name} has no order")
        assert isinstance(order, tuple)
        return order.index(axis)
    source, target = node.inputs[0], node.outputs[0]
    require(target.shape is not None, f"the shape of {target.name} is not known")
    assert source is not None
    # The same numbers lie between two neighbours of a dimension, and it has as many: then it is the same dimension.
    before, after = dims(source), dims(target)
    for index in range(len(after)):
        if after[index] == before[axis] and _stride(after, index) == _stride(before, axis) is not None:
            return index
    raise Decline(f"{node.name} mixes channels with other dimensions")


def _stride(sides: list[int | str], axis: int) -> int | None:
    numbers = [side for side in sides[axis + 1 :] if isinstance(side, int)]
    return math.prod(numbers) if len(numbers) == len(sides) - axis - 1 else None


def _convolution(node: ir.Node) -> _Convolution:
    require(attribute(node, "group", 1) == 1, f"{node.name} is grouped")
    pads = attribute(node, "pads", (0,))
    assert isinstance(pads, tuple)
    padded = any(pads) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    require(not padded, f"{node.name} pads with zeros")
    weight = constant(node.inputs[1], f"the weight of {node.name}")
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = constant(node.inputs[2], f"the bias of {node.name}") if has_bias else np.zeros(len(weight))
    return _Convolution(node, weight, bias)


def _write(graph: ir.Graph, norm: ir.Node, gamma: Float64, beta: Float64 | None, layers: list[_Layer]) -> None:
    offset = np.zeros_like(gamma) if beta is None else beta
    for layer in layers:
        if isinstance(layer, Linear):
            layer.replace(graph, gamma[:, None] * layer.weight, layer.bias + offset @ layer.weight)
            continue
        writer = Writer(graph, scope_of(layer.node), before=layer.node)
        weight = layer.weight * gamma[:, None, None]
        bias = layer.bias + np.einsum("ochw,c->o", layer.weight, offset)
        layer.node.replace_input_with(1, writer.constant(weight, "folded_weight", np.float32))
        layer.node.resize_inputs(3)
        layer.node.replace_input_with(2, writer.constant(bias, "folded_bias", np.float32))
    ones = Writer(graph, scope_of(norm), before=norm).constant(np.ones_like(gamma), "ones", np.float32)
    norm.replace_input_with(1, ones)
    norm.resize_inputs(2)
