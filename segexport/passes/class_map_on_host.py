"""End the graph at the logits, channels last: the class map is computed behind it, by `segexport.native`.

Source: bilinear upsampling makes convex combinations, so that four corners which agree on a class decide all pixels
between them, and most logits of the other pixels are never needed; runtime/include/segexport/class_map.hpp has the
argument. The upsampled logits [N, classes, H, W], as large as the network is slow, never exist.
"""

from __future__ import annotations

import onnx_ir as ir

from segexport import native
from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.match import attribute, produced_by, require
from segexport.spec import Claim, Declined, PassResult

LOGITS = "logits"


class ClassMapOnHost:
    """Before and after:

    logits -> [Resize] -> ArgMax -> Cast -> mask
    logits -> Transpose (0, 2, 3, 1) -> logits [N, h, w, classes]
    """

    name = "class-map-on-host"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite the outputs of `graph` in place."""
        outputs = graph.model.graph.outputs
        try:
            require(native.available(), native.MISSING)
            asked = graph.contract.output
            require(
                asked == "mask", f"the contract asks for {asked}: class maps alone can do without the other classes"
            )
            argmax, logits = _match(outputs[0])
        except Decline as reason:
            return PassResult(self.name, self.claim, (), (Declined(outputs[0].name or "mask", str(reason)),))
        batch, classes, height, width = dims(logits)
        writer = Writer(graph.model.graph, "postprocess")
        last = writer.op("Transpose", [logits], shape=[batch, height, width, classes], perm=[0, 2, 3, 1])
        last.name = LOGITS
        outputs.clear()
        outputs.append(last)
        return PassResult(self.name, self.claim, (argmax.name or "ArgMax",), ())


def _match(mask: ir.Value) -> tuple[ir.Node, ir.Value]:
    cast = mask.producer()
    require(cast is not None and cast.op_type == "Cast", "the mask is not the cast of an argmax")
    assert cast is not None
    argmax = produced_by(cast.inputs[0], "ArgMax")
    require(attribute(argmax, "axis", 0) == 1, "the argmax is not over the classes")
    require(attribute(argmax, "select_last_index", 0) == 0, "ties of the argmax go to the highest id")
    value = argmax.inputs[0]
    resize = value.producer() if value is not None else None
    if resize is not None and resize.op_type == "Resize":
        resize = produced_by(value, "Resize")
        require(attribute(resize, "mode", "nearest") == "linear", "the upsampling is not bilinear")
        transform = attribute(resize, "coordinate_transformation_mode", "half_pixel")
        require(transform == "half_pixel", f"the upsampling samples at {transform}")
        require(attribute(resize, "antialias", 0) == 0, "the upsampling is antialiased")
        value = resize.inputs[0]
    require(value is not None and value.shape is not None and len(value.shape) == 4, "the logits are no planes")
    assert value is not None
    return argmax, value
