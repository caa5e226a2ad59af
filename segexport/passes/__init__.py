"""Exact graph rewrites, one per file, and the order they run in.

Imports point left: a pass knows onnx_ir and `segexport.graph`, never torch, an engine or a clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.graph.graph import Graph
from segexport.passes.base import Pass
from segexport.passes.fold_decode_head import FoldDecodeHead

PIPELINE: tuple[Pass, ...] = (FoldDecodeHead(),)


def run(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> Graph:
    """Apply `passes` to `graph` in order, in place; what each did is appended to `graph.rewrites`."""
    for rewrite in passes:
        graph.rewrites += (rewrite(graph),)
        RemoveUnusedNodesPass()(graph.model)
    return graph
