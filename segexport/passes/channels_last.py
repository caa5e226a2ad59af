"""Turn planes into tokens with one four-dimensional transpose, which engines merge into their own layout changes.

Source: reshaping and transposing move numbers and change none; [N, C, H, W] -> [N, C, HW] -> [N, HW, C] and
[N, C, H, W] -> [N, H, W, C] -> [N, HW, C] move them alike. ONNX Runtime computes convolutions in a blocked layout and
has to reorder on the way in and out; it does the transpose on the way where it is the four-dimensional one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.match import attribute, flattens, scope_of
from segexport.spec import Claim, PassResult

_SWAP = (0, 2, 1)


class ChannelsLast:
    """Before and after, into tokens and back into planes:

    Reshape [N, C, HW] -> Transpose (0, 2, 1)          Transpose (0, 2, 1) -> Reshape [N, C, H, W]
    Transpose (0, 2, 3, 1) -> Reshape [N, HW, C]       Reshape [N, H, W, C] -> Transpose (0, 3, 1, 2)
    """

    name = "channels-last"
    claim: Claim = "bit-exact"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every change between planes and tokens in place."""
        rewritten = []
        for node in list(graph.model.graph):
            if node.op_type != "Transpose" or attribute(node, "perm", None) != _SWAP:
                continue
            if _to_tokens(graph.model.graph, node) or _to_planes(graph.model.graph, node):
                rewritten.append(node.name or "Transpose")
        return PassResult(self.name, self.claim, tuple(rewritten), ())


def _to_tokens(graph: ir.Graph, transpose: ir.Node) -> bool:
    reshape = transpose.inputs[0].producer() if transpose.inputs[0] is not None else None
    if transpose.outputs[0].is_graph_output():  # its name is part of the contract
        return False
    if reshape is None or reshape.op_type != "Reshape" or not flattens(reshape.inputs[0], reshape.outputs[0]):
        return False
    planes = reshape.inputs[0]
    assert planes is not None
    batch, channels, height, width = dims(planes)
    writer = Writer(graph, scope_of(transpose), before=transpose)
    last = writer.op("Transpose", [planes], shape=[batch, height, width, channels], perm=[0, 2, 3, 1])
    shape = dims(transpose.outputs[0])
    target = writer.constant([-1, *shape[1:]], "tokens", np.int64)
    transpose.outputs[0].replace_all_uses_with(writer.op("Reshape", [last, target], shape=shape))
    return True


def _to_planes(graph: ir.Graph, transpose: ir.Node) -> bool:
    changed = False
    tokens = transpose.inputs[0]
    for use in list(transpose.outputs[0].uses()):
        reshape = use.node
        if reshape.op_type != "Reshape" or reshape.outputs[0].is_graph_output() or tokens is None:
            continue
        if not flattens(reshape.outputs[0], transpose.outputs[0]):
            continue
        batch, channels, height, width = dims(reshape.outputs[0])
        writer = Writer(graph, scope_of(transpose), before=reshape)
        target = writer.constant([-1, height, width, channels], "planes", np.int64)
        last = writer.op("Reshape", [tokens, target], shape=[batch, height, width, channels])
        first = writer.op("Transpose", [last], shape=[batch, channels, height, width], perm=[0, 3, 1, 2])
        reshape.outputs[0].replace_all_uses_with(first)
        changed = True
    return changed
