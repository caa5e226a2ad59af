"""Fold rescaling, the division by the standard deviation and the channel order into the first convolution.

Source: a convolution is linear in its input, W * ((f x - m) / s) = (W f / s) * (x - m / f) channel by channel. The mean
stays where it is: the convolution pads with zeros after normalisation, so a mean in its bias would be wrong along
the border. Reversing BGR to RGB before a convolution is reversing the weights' input channels.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.match import Float64, attribute, constant, produced_by, require
from segexport.spec import Claim, Declined, PassResult


class FoldNormalization:
    """Before and after:

    pixels -> [Gather BGR to RGB] -> Mul f -> Sub m -> Div s -> [Pad] -> Conv W
    pixels -> Sub m / f -> [Pad] -> Conv (W f / s)
    """

    name = "fold-normalization"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite the first convolution of `graph` in place."""
        conv = next((node for node in graph.model.graph if node.op_type == "Conv"), None)
        if conv is None:
            return PassResult(self.name, self.claim, (), ())
        name = conv.name or "Conv"
        try:
            _fold(graph.model.graph, conv)
        except Decline as reason:
            return PassResult(self.name, self.claim, (), (Declined(name, str(reason)),))
        return PassResult(self.name, self.claim, (name,), ())


def _fold(graph: ir.Graph, conv: ir.Node) -> None:
    kernel = constant(conv.inputs[1], "the convolution's weight")
    require(attribute(conv, "group", 1) == 1, "the convolution is grouped")
    value, reader = conv.inputs[0], conv
    pad = value.producer() if value is not None else None
    if pad is not None and pad.op_type == "Pad":  # zeros, which stay zeros when the scale moves behind them
        pad = produced_by(value, "Pad")
        require(attribute(pad, "mode", "constant") == "constant" and len(pad.inputs) == 2, "the padding is not zeros")
        value, reader = pad.inputs[0], pad
    channels = kernel.shape[1]
    scale, mean = np.ones(channels), np.zeros(channels)
    # Upwards from the network: x -> scale * x - mean, each operator seen composed with those below it.
    steps = 0
    while (node := _scaling(value)) is not None:
        operand = _per_channel(constant(node.inputs[1], f"{node.name}'s operand"), channels)
        if node.op_type == "Sub":
            mean = mean + scale * operand
        else:
            scale = scale * (operand if node.op_type == "Mul" else 1 / operand)
        value = produced_by(value, node.op_type).inputs[0]
        steps += 1
    order = np.arange(channels)
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Gather" and attribute(node, "axis", 0) == 1:
        order = constant(node.inputs[1], "the channel order").astype(int).reshape(-1)
        value = produced_by(value, "Gather").inputs[0]
        require(value is not None and value.shape is not None, "the image has no known shape")
        assert value is not None
        whole = dims(value)[1] == channels and sorted(order) == list(range(channels))
        require(whole, "channels are picked, not only reordered")
    elif steps == 0 or (steps == 1 and not scale.std() and scale[0] == 1):
        raise Decline("nothing but a subtraction stands before the convolution")
    assert value is not None
    require(bool(np.isfinite(scale).all() and scale.all()), "the scale of a channel is zero or not finite")
    back = np.argsort(order)
    offset = (mean / scale)[back]
    writer = Writer(graph, "preprocess", before=reader)
    if offset.any():
        centre = writer.constant(offset.reshape(1, -1, 1, 1), "centre", np.float32)
        value = writer.op("Sub", [value, centre], shape=dims(value))
    folded = writer.constant((kernel * scale[:, None, None])[:, back], "first_weight", np.float32)
    reader.replace_input_with(0, value)
    conv.replace_input_with(1, folded)


def _scaling(value: ir.Value | None) -> ir.Node | None:
    """The node behind `value` if it multiplies, divides or subtracts by a constant."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type not in ("Mul", "Sub", "Div"):
        return None
    operand = node.inputs[1]
    return node if operand is not None and ir.convenience.get_const_tensor(operand) is not None else None


def _per_channel(operand: Float64, channels: int) -> Float64:
    require(operand.size in (1, channels), "an operand is neither one number nor one for each channel")
    require(operand.size == 1 or operand.shape[-3:] == (channels, 1, 1), "an operand is not one for each channel")
    return np.broadcast_to(operand.reshape(-1), channels)
