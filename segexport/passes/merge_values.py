"""Merge the value and output projections of an attention with one head.

Source: with one head, A (y Wv + bv) Wo + bo = A (y (Wv Wo) + (bv Wo + bo)), since the rows of A, a softmax, sum to one.
SegFormer's first stage has one head and many times more queries than keys: a projection of every query becomes a part
of that of a few values. With more heads the values would become as many times larger.
"""

from __future__ import annotations

import onnx_ir as ir

from segexport.graph.graph import Graph
from segexport.passes.attention import match, softmaxes
from segexport.passes.base import Decline
from segexport.passes.linear import linear_making, linear_of
from segexport.passes.match import only_reader, require
from segexport.spec import Claim, Declined, PassResult


class MergeValues:
    """Before and after:

    y -> MatMul Wv -> Add bv ---------------> [attention] -> MatMul Wo -> Add bo
    y -> MatMul (Wv Wo) -> Add (bv Wo + bo) -> [attention]
    """

    name = "merge-values"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every attention of `graph` with one head, in place."""
        rewritten, declined = [], []
        for softmax in softmaxes(graph.model.graph):
            name = softmax.name or "Softmax"
            try:
                _merge(graph.model.graph, softmax)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _merge(graph: ir.Graph, softmax: ir.Node) -> None:
    attention = match(softmax)
    require(attention.heads == 1, f"it has {attention.heads} heads")
    values = linear_making(attention.values)
    follower = only_reader(attention.last)
    require(follower.op_type == "MatMul" and follower.inputs[0] is attention.result, "no linear layer follows")
    output = linear_of(follower)
    require(output.weight.shape[0] == output.weight.shape[1], "the output projection changes the channels")
    require(not output.add.outputs[0].is_graph_output(), "its output projection is an output of the graph")
    values.replace(graph, values.weight @ output.weight, values.bias @ output.weight + output.bias)
    output.add.outputs[0].replace_all_uses_with(attention.result)
