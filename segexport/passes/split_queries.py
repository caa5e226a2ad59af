"""Take the one head of an attention for several, each with a part of the queries. For TensorRT, which fuses no other.

Source: every row of softmax(s Q Kᵀ) V (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1) is computed from its own
query and all keys and values, so that the queries can be taken in parts, as Dao (arXiv:2307.08691, section 3.2) does
for a GPU's processors. The parts are given to TensorRT as heads that share their keys and values: it has fused kernels
for two heads and more, and for a single one only where the scores are 2^24 or more. No sum changes, nor its order.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.attention import Attention, match, product_of, softmaxes
from segexport.passes.base import Decline
from segexport.passes.match import require, scope_of
from segexport.spec import Claim, Declined, PassResult


class SplitQueries:
    """Before and after, for q of [N, L, d] and k, v of [N, M, d], in p parts; p is the least divisor of L:

    q -> Reshape [N, L, 1, d] -> Transpose [N, 1, L, d] ┐
    k -> Reshape [N, M, 1, d] -> Transpose [N, 1, d, M] ┴ MatMul -> Mul 1/√d -> Softmax ┐
    v -> Reshape [N, M, 1, d] -> Transpose [N, 1, M, d] ------------------------------- ┴ MatMul -> Transpose -> Reshape
    q -> Reshape [N, p, L/p, d] ------------------------------------- ┐
    k -> Reshape [N, 1, M, d] -> Transpose -> Expand [N, p, d, M] --- ┴ MatMul -> Mul 1/√d -> Softmax ┐
    v -> Reshape [N, 1, M, d] -> Expand [N, p, M, d] ------------------------------------------------ ┴ MatMul
      -> Reshape [N, L, d]
    """

    name = "split-queries"
    claim: Claim = "bit-exact"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every attention of `graph` with one head, in place."""
        rewritten, declined = [], []
        for softmax in softmaxes(graph.model.graph):
            name = softmax.name or "Softmax"
            if _is_split(softmax):
                continue
            try:
                attention = match(softmax)
                parts = _parts(attention)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            _write(graph.model.graph, softmax, attention, parts)
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _is_split(softmax: ir.Node) -> bool:
    values = product_of(softmax).inputs[1]
    node = values.producer() if values is not None else None
    return node is not None and node.op_type == "Expand"


def _parts(attention: Attention) -> int:
    require(attention.heads == 1, f"it has {attention.heads} heads")
    batch, count, _ = dims(attention.queries)
    require(not isinstance(batch, int) or batch == 1, f"it has {batch} images, which serve as heads")
    require(isinstance(count, int), "the number of queries is not known")
    assert isinstance(count, int)
    parts = next((part for part in range(2, int(count**0.5) + 1) if count % part == 0), count)
    require(parts < count, f"{count} queries cannot be taken in equal parts")
    return parts


def _write(graph: ir.Graph, softmax: ir.Node, attention: Attention, parts: int) -> None:
    batch, count, size = dims(attention.queries)
    keys = dims(attention.keys)[1]
    assert isinstance(count, int)
    dtype = attention.queries.dtype or ir.DataType.FLOAT
    writer = Writer(graph, scope_of(softmax), before=attention.scores)
    each = writer.constant([1, parts, 1, 1], "parts", np.int64)

    def reshape(value: ir.Value, shape: list[int | str], name: str) -> ir.Value:
        target = writer.constant([-1, *shape], name, np.int64)
        return writer.op("Reshape", [value, target], dtype=dtype, shape=[batch, *shape])

    def for_each(value: ir.Value) -> ir.Value:
        return writer.op("Expand", [value, each], dtype=dtype, shape=[batch, parts, *dims(value)[2:]])

    queries = reshape(attention.queries, [parts, count // parts, size], "query_parts")
    rows = reshape(attention.keys, [1, keys, size], "one_head")
    across = writer.op("Transpose", [rows], dtype=dtype, shape=[batch, 1, size, keys], perm=[0, 1, 3, 2])
    attention.scores.replace_input_with(0, queries)
    attention.scores.replace_input_with(1, for_each(across))
    writer = Writer(graph, scope_of(softmax), before=attention.product)
    attention.product.replace_input_with(1, for_each(reshape(attention.values, [1, keys, size], "one_head")))
    value = attention.product.inputs[0]
    while value is not None and value is not queries:  # back over softmax, casts and scale to the scores
        value.shape = ir.Shape([batch, parts, count // parts, keys])
        node = value.producer()
        value = node.inputs[0] if node is not None else None
    product = attention.product.outputs[0]
    product.shape = ir.Shape([batch, parts, count // parts, size])
    writer = Writer(graph, scope_of(softmax), before=attention.last)
    attention.result.replace_all_uses_with(reshape(product, [count, size], "tokens"))
