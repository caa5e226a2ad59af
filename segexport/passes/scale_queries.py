"""Scale the queries in the weights that make them, instead of the scores in every call.

Source: the scores of Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1, are linear in the queries,
s ((x W + b) Kᵀ) = (x (s W) + s b) Kᵀ, and s = 1/√d is one number, so that taking the heads apart in between changes
nothing. The scores of stage 1 are as large as [N, 1, HW/16, HW/1024]: one pass less over them.
Where s is a power of two no bit changes; SegFormer's d = 32 has none.
"""

from __future__ import annotations

import onnx_ir as ir

from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.linear import Linear, linear_making
from segexport.passes.match import constant, produced_by, require
from segexport.spec import Claim, Declined, PassResult


class ScaleQueries:
    """Before and after, in the spelling of transformers 5 (4.57 has Div √d):

    x -> MatMul W -> Add b -> Reshape -> Transpose ┐
    k -------------------------------------------- ┴ MatMul -> Mul 1/√d -> Softmax
    x -> MatMul W/√d -> Add b/√d -> Reshape -> Transpose ┐
    k -------------------------------------------------- ┴ MatMul -> Softmax
    """

    name = "scale-queries"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every attention of `graph` in place."""
        rewritten, declined = [], []
        for softmax in [node for node in graph.model.graph if node.op_type == "Softmax"]:
            scores = _scaled_scores(softmax)
            if scores is None:
                continue  # not scaled, or not of an attention
            name = softmax.name or "Softmax"
            try:
                scaling, scale, linear = _match(softmax, scores)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            linear.replace(graph.model.graph, linear.weight * scale, linear.bias * scale)
            scaling.outputs[0].replace_all_uses_with(scores.outputs[0])
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _scaled_scores(softmax: ir.Node) -> ir.Node | None:
    """The MatMul that makes the scores, if they go through a Mul or Div to the softmax."""
    scaling = softmax.inputs[0].producer() if softmax.inputs[0] is not None else None
    if scaling is None or scaling.op_type not in ("Mul", "Div"):
        return None
    makers = [value.producer() for value in scaling.inputs if value is not None]
    return next((node for node in makers if node is not None and node.op_type == "MatMul"), None)


def _match(softmax: ir.Node, scores: ir.Node) -> tuple[ir.Node, float, Linear]:
    """The node that scales, the factor, and the linear layer that makes the queries."""
    assert softmax.inputs[0] is not None
    found = softmax.inputs[0].producer()
    assert found is not None
    scaling = produced_by(softmax.inputs[0], found.op_type)
    product, factor = scaling.inputs
    if product is not scores.outputs[0]:
        require(scaling.op_type == "Mul", "the scores are divided by, and not scaled")
        product, factor = factor, product
    number = constant(factor, "the scale of the scores")
    require(number.size == 1, "the scale of the scores is not one number")
    scale = float(number.reshape(-1)[0])
    produced_by(product, "MatMul")
    value = scores.inputs[0]
    while value is not None and (node := value.producer()) is not None and node.op_type in ("Reshape", "Transpose"):
        value = produced_by(value, node.op_type).inputs[0]
    produced_by(value, "Add")
    return scaling, scale if scaling.op_type == "Mul" else 1 / scale, linear_making(value)
