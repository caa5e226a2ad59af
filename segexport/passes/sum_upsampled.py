"""Write a sum of upsampled planes in operators that TensorRT's builder fuses into one kernel. For TensorRT only.

Source: bilinear upsampling is four gathers and three weighted means (`bilinear.gathered`). The builder fuses any number
of gathers and sums, but at most one Resize with what follows it, so that every term of the decode head's sum is written
to memory at the full size and read again. The sum is taken in FP32 and rounded once.
"""

from __future__ import annotations

import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.bilinear import FLOAT, gathered, sides, source_of
from segexport.passes.match import produced_by, require, scope_of
from segexport.spec import Claim, Declined, PassResult


class SumUpsampled:
    """Before and after, for planes x, y, z of several sizes:

    x -> Resize ┐
    y -> Resize ┴ Add ┐
    z -> Resize ----- ┴ Add
    x, y, z -> 4 Gather -> 3 (Mul, Mul, Add) each -> Add, Add
    """

    name = "sum-upsampled"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every such sum of `graph` in place."""
        rewritten, declined = [], []
        for node in list(graph.model.graph):
            if node.op_type != "Add" or not _is_sum(node.outputs[0]) or _goes_on(node):
                continue
            name = node.name or "Add"
            try:
                require(not node.outputs[0].is_graph_output(), "it is an output of the graph")
                size = sides(node.outputs[0])
                sources = [source_of(term) for term in _terms(node.outputs[0])]
                for source in sources:
                    sides(source)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            _write(graph.model.graph, node, sources, size)
            rewritten.append(name)
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _is_sum(value: ir.Value | None) -> bool:
    """Whether `value` is a Resize's or a sum of such."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type not in ("Add", "Resize"):
        return False
    return node.op_type == "Resize" or all(_is_sum(operand) for operand in node.inputs)


def _goes_on(node: ir.Node) -> bool:
    """Whether a larger such sum reads it."""
    return any(use.node.op_type == "Add" and _is_sum(use.node.outputs[0]) for use in node.outputs[0].uses())


def _terms(value: ir.Value, last: bool = True) -> list[ir.Value]:
    """The Resizes' outputs, in the order in which they are added up."""
    node = value.producer() if last else produced_by(value, _operator(value))
    assert node is not None
    if node.op_type == "Resize":
        return [value]
    return [term for operand in node.inputs if operand is not None for term in _terms(operand, last=False)]


def _operator(value: ir.Value) -> str:
    node = value.producer()
    return node.op_type if node is not None else ""


def _write(graph: ir.Graph, node: ir.Node, sources: list[ir.Value], size: tuple[int, int]) -> None:
    replaced = node.outputs[0]
    writer = Writer(graph, scope_of(node), before=node)
    total: ir.Value | None = None
    for source in sources:
        term = gathered(writer, source, size)
        total = term if total is None else writer.op("Add", [total, term], shape=dims(term))
    assert total is not None
    if replaced.dtype is not None and replaced.dtype != FLOAT:
        total = writer.op("Cast", [total], dtype=replaced.dtype, shape=dims(total), to=int(replaced.dtype))
    replaced.replace_all_uses_with(total)
