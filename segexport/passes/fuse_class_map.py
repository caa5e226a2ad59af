"""Write upsampling and argmax in operators that TensorRT's builder fuses into one kernel. For TensorRT only.

Source: argmax_c x_c = min {c : x_c = max_k x_k}, ties to the lowest id. The builder fuses gathers and arithmetic into
the reductions that read them, but neither Resize nor ArgMax: with those, the upsampled logits [N, classes, H, W] are
written to memory and read again, 79 MB each way for 150 classes at 512x512 in FP16, a third of the network's traffic.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.bilinear import gathered, sides, widened
from segexport.passes.class_map import ClassMap, match
from segexport.spec import Claim, Declined, PassResult


class FuseClassMap:
    """Before and after, for logits x [N, classes, h, w] and ids c; the gathers are `bilinear.gathered`'s, in FP32:

    x -> Resize -> ArgMax -> Cast -> mask
    x -> 4 Gather -> 3 (Mul, Mul, Add) = y ┬ ReduceMax = m ┬ Where y = m: -c, else -classes -> ReduceMax -> Neg -> Cast
                                           └---------------┘
    """

    name = "fuse-class-map"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite the class map of `graph` in place."""
        mask = graph.model.graph.outputs[0]
        try:
            found = match(graph)
            size = sides(found.argmax.inputs[0]) if found.argmax.inputs[0] is not None else (0, 0)
            sides(found.logits)
        except Decline as reason:
            return PassResult(self.name, self.claim, (), (Declined(mask.name or "mask", str(reason)),))
        _write(graph.model.graph, found, size)
        return PassResult(self.name, self.claim, (found.argmax.name or "ArgMax",), ())


def _write(graph: ir.Graph, found: ClassMap, size: tuple[int, int]) -> None:
    cast = found.mask.producer()
    assert cast is not None
    batch, classes = dims(found.logits)[:2]
    assert isinstance(classes, int)
    writer = Writer(graph, "postprocess", before=cast)
    logits = gathered(writer, found.logits, size) if found.upsampled else widened(writer, found.logits)
    planes, plane = [batch, classes, *size], [batch, 1, *size]
    over_classes = writer.constant([1], "over_classes", np.int64)
    largest = writer.op("ReduceMax", [logits, over_classes], shape=plane, keepdims=1)
    wins = writer.op("Equal", [logits, largest], dtype=ir.DataType.BOOL, shape=planes)
    # Negative, so that the largest is the lowest id: the builder fuses a second maximum, and ids below 256 are exact.
    ids = writer.constant(-np.arange(classes).reshape(1, classes, 1, 1), "minus_id", np.float32)
    none = writer.constant(-classes, "no_class", np.float32)
    candidates = writer.op("Where", [wins, ids, none], shape=planes)
    best = writer.op("ReduceMax", [candidates, over_classes], shape=[batch, *size], keepdims=0)
    cast.replace_input_with(0, writer.op("Neg", [best], shape=[batch, *size]))
