"""A linear layer on tokens as PyTorch's exporter writes it, MatMul and Add, for passes that change its weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer
from segexport.passes.base import Decline
from segexport.passes.match import Float64, constant, only_reader, require, scope_of


@dataclass(frozen=True)
class Linear:
    """tokens [N, L, in] @ weight [in, out] + bias [out]."""

    product: ir.Node
    add: ir.Node
    weight: Float64
    bias: Float64

    def replace(self, graph: ir.Graph, weight: Float64, bias: Float64) -> None:
        """Give it other weights, in place; the old ones may have other readers and stay."""
        writer = Writer(graph, scope_of(self.product), before=self.product)
        kind = np.float16 if self.product.outputs[0].dtype == ir.DataType.FLOAT16 else np.float32
        self.product.replace_input_with(1, writer.constant(weight, "folded_weight", kind))
        index = 1 if self.add.inputs[0] is self.product.outputs[0] else 0
        self.add.replace_input_with(index, writer.constant(bias, "folded_bias", kind))


def linear_of(product: ir.Node) -> Linear:
    """The linear layer that begins with the MatMul `product`.

    Raises:
        Decline: weight or bias are not constants, or something else reads the product.
    """
    weight = constant(product.inputs[1], f"the weight of {product.name}")
    require(weight.ndim == 2, f"the weight of {product.name} is not a matrix")
    add = only_reader(product)
    require(add.op_type == "Add", f"{product.name} has no bias")
    other = next((value for value in add.inputs if value is not product.outputs[0]), None)
    bias = constant(other, f"the bias of {product.name}")
    require(bias.shape == weight.shape[1:], f"the bias of {product.name} is not one number for each output")
    return Linear(product, add, weight, bias)


def linear_making(value: ir.Value | None) -> Linear:
    """The linear layer whose result is `value`.

    Raises:
        Decline: it is not a linear layer's, or as for `linear_of`.
    """
    add = value.producer() if value is not None else None
    for operand in add.inputs if add is not None and add.op_type == "Add" else ():
        product = operand.producer() if operand is not None else None
        if product is not None and product.op_type == "MatMul":
            return linear_of(product)
    name = "an input or constant" if value is None or add is None else f"{add.op_type} {add.name}"
    raise Decline(f"expected a linear layer, found {name}")
