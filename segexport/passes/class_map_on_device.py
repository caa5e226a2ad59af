"""End the graph at the logits, as the network computes them: a kernel behind the engine makes the class map.

Source: as for `class_map_on_host`, whose arithmetic the kernel shares: the upsampled logits [N, classes, H, W] never
exist. It runs behind precision, so that the logits leave an FP16 engine in FP16: widened, they would be twice the bytes
for both to move, and the kernel widens what it reads.
"""

from __future__ import annotations

from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.class_map import match
from segexport.passes.match import require
from segexport.spec import LOGITS, Claim, Declined, PassResult


class ClassMapOnDevice:
    """Before and after, for logits of [N, classes, h, w]:

    logits -> [Resize] -> ArgMax -> Cast -> mask
    logits
    """

    name = "class-map-on-device"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite the outputs of `graph` in place."""
        outputs = graph.model.graph.outputs
        try:
            found = match(graph)
            require(not found.logits.is_graph_output(), "the logits are an output already")
        except Decline as reason:
            return PassResult(self.name, self.claim, (), (Declined(outputs[0].name or "mask", str(reason)),))
        found.logits.name = LOGITS
        outputs.clear()
        outputs.append(found.logits)
        return PassResult(self.name, self.claim, (found.argmax.name or "ArgMax",), ())
