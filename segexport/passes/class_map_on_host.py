"""End the graph at the logits, channels last: the class map is computed behind it, by `segexport.native`.

Source: bilinear upsampling makes convex combinations, so that four corners which agree on a class decide all pixels
between them, and most logits of the other pixels are never needed; runtime/include/segexport/class_map.hpp has the
argument. The upsampled logits [N, classes, H, W], as large as the network is slow, never exist.
"""

from __future__ import annotations

from segexport import native
from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.class_map import match
from segexport.passes.match import require
from segexport.spec import LOGITS, Claim, Declined, PassResult

__all__ = ["LOGITS", "ClassMapOnHost"]


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
            found = match(graph)
        except Decline as reason:
            return PassResult(self.name, self.claim, (), (Declined(outputs[0].name or "mask", str(reason)),))
        batch, classes, height, width = dims(found.logits)
        writer = Writer(graph.model.graph, "postprocess")
        last = writer.op("Transpose", [found.logits], shape=[batch, height, width, classes], perm=[0, 2, 3, 1])
        last.name = LOGITS
        outputs.clear()
        outputs.append(last)
        return PassResult(self.name, self.claim, (found.argmax.name or "ArgMax",), ())
