"""Take the softmax of attention in FP16, so that TensorRT's fused kernel accumulates the scores in FP16. On request.

Source: the fused kernel takes the type of its first product's accumulator from that of the softmax, as the kernel's
source in a plan says (`Ampere_hmma_fp32_traits` or `Ampere_hmma_fp16_traits` for the first of its two products); the
softmax itself it computes in FP32 either way. Tensor cores of GeForce GPUs multiply at twice the rate with FP16 sums.
"""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

from segexport.graph.graph import Graph
from segexport.passes.attention import cast_to, product_of, softmaxes
from segexport.passes.base import Decline
from segexport.passes.match import produced_by, require
from segexport.spec import Claim, Declined, PassResult

Accumulate = Literal["fp16", "fp32"]
"""What a fused attention adds the products of its scores up in."""


class HalfScores:
    """Before and after:

    scores -> Cast to FP32 -> Softmax -> Cast to FP16 -> MatMul
    scores -> Softmax -> MatMul
    """

    name = "half-scores"
    claim: Claim = "approximate"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every attention of `graph` in place, which is in FP16."""
        rewritten, declined = [], []
        for softmax in softmaxes(graph.model.graph):
            name = softmax.name or "Softmax"
            if softmax.outputs[0].dtype == ir.DataType.FLOAT16:
                continue
            try:
                _rewrite(softmax)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _rewrite(softmax: ir.Node) -> None:
    scores = cast_to(softmax.inputs[0], ir.DataType.FLOAT)
    half = scores is not None and scores.dtype == ir.DataType.FLOAT16
    require(half and scores is not softmax.inputs[0], "its scores are in FP32")
    weights = product_of(softmax).inputs[0]
    require(weights is not softmax.outputs[0], "its product with the values is in FP32")
    require(cast_to(weights, ir.DataType.FLOAT16) is softmax.outputs[0], "it is cast to another type")
    produced_by(softmax.outputs[0], "Softmax")
    assert weights is not None
    softmax.replace_input_with(0, scores)
    softmax.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    weights.replace_all_uses_with(softmax.outputs[0])
