"""Recognising the class map as `graph.postprocess` writes it, for the passes that make it elsewhere or otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.bilinear import source_of
from segexport.passes.match import attribute, produced_by, require


@dataclass(frozen=True)
class ClassMap:
    """argmax over the classes of `logits` [N, classes, h, w], upsampled bilinearly to `mask` [N, H, W] on the way."""

    mask: ir.Value
    argmax: ir.Node
    logits: ir.Value
    upsampled: bool


def match(graph: Graph) -> ClassMap:
    """The class map that `graph` ends with.

    Raises:
        Decline: the contract asks for more, or the map is made in another way.
    """
    asked = graph.contract.output
    require(asked == "mask", f"the contract asks for {asked}: class maps alone can do without the other classes")
    mask = graph.model.graph.outputs[0]
    cast = mask.producer()
    require(cast is not None and cast.op_type == "Cast", "the mask is not the cast of an argmax")
    assert cast is not None
    argmax = produced_by(cast.inputs[0], "ArgMax")
    require(attribute(argmax, "axis", 0) == 1, "the argmax is not over the classes")
    require(attribute(argmax, "select_last_index", 0) == 0, "ties of the argmax go to the highest id")
    value = argmax.inputs[0]
    resize = value.producer() if value is not None else None
    upsampled = resize is not None and resize.op_type == "Resize"
    if upsampled:
        value = source_of(value)
    if value is None or value.shape is None or len(value.shape) != 4:
        raise Decline("the logits are no planes")
    return ClassMap(mask, argmax, value, upsampled)
