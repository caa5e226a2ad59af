"""Write attention as ONNX Runtime's own operator. For ONNX Runtime only: the name means nothing elsewhere.

Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2, computed block by block as Dao et al. 2022
(arXiv:2205.14135) do. The scores [N, heads, queries, keys] are never written to memory, and the heads are taken apart
and put together inside the operator.
"""

from __future__ import annotations

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.attention import match, softmaxes
from segexport.passes.base import Decline
from segexport.passes.fuse_gelu import MICROSOFT
from segexport.passes.match import scope_of
from segexport.spec import Claim, Declined, PassResult


class FuseAttention:
    """Before and after, for q, k, v of [N, tokens, heads * size]:

    q -> Reshape -> Transpose ┐
    k -> Reshape -> Transpose ┴ MatMul -> Mul 1/√size -> Softmax ┐
    v -> Reshape -> Transpose ---------------------------------- ┴ MatMul -> Transpose -> Reshape
    q, k, v -> MultiHeadAttention
    """

    name = "fuse-attention"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every attention of `graph` in place."""
        rewritten, declined = [], []
        for softmax in softmaxes(graph.model.graph):
            name = softmax.name or "Softmax"
            try:
                found = match(softmax)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            writer = Writer(graph.model.graph, scope_of(softmax), before=found.last)
            fused = writer.op(
                "MultiHeadAttention",
                [found.queries, found.keys, found.values],
                shape=dims(found.result),
                domain=MICROSOFT,
                num_heads=found.heads,
                scale=found.scale,
            )
            found.result.replace_all_uses_with(fused)
            rewritten.append(name)
        if rewritten:
            graph.model.graph.opset_imports[MICROSOFT] = 1
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))
