"""Write GELU as ONNX Runtime's own operator. For ONNX Runtime only: the name means nothing elsewhere.

Source: Hendrycks and Gimpel 2016 (arXiv:1606.08415), x Φ(x) = x (1 + erf(x / √2)) / 2. ONNX Runtime has a kernel for it
and fuses other spellings of it, but not the one that PyTorch's exporter writes.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.match import constant, only_reader, produced_by, require, scope_of
from segexport.spec import Claim, Declined, PassResult

MICROSOFT = "com.microsoft"


class FuseGelu:
    """Before and after:

    x -> Div √2 -> Erf -> Add 1 -> Mul 1/2 -> Mul x      (or Mul x -> Mul 1/2, or Mul (x * 1/2))
    x -> Gelu
    """

    name = "fuse-gelu"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every GELU of `graph` in place."""
        rewritten, declined = [], []
        for erf in [node for node in graph.model.graph if node.op_type == "Erf"]:
            name = erf.name or "Erf"
            try:
                source, last = _match(erf)
            except Decline as reason:
                declined.append(Declined(name, str(reason)))
                continue
            writer = Writer(graph.model.graph, scope_of(erf), before=last)
            fused = writer.op("Gelu", [source], shape=dims(source), domain=MICROSOFT)
            last.outputs[0].replace_all_uses_with(fused)
            rewritten.append(name)
        if rewritten:
            graph.model.graph.opset_imports[MICROSOFT] = 1
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _match(erf: ir.Node) -> tuple[ir.Value, ir.Node]:
    """The value GELU is taken of, and the node that ends it."""
    scaling = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    require(scaling is not None and scaling.op_type in ("Div", "Mul"), "the error function's input is not scaled")
    assert scaling is not None
    scale = constant(scaling.inputs[1], "the scale inside the error function")
    require(scale.size == 1, "the scale inside the error function is not one number")
    factor = float(scale.reshape(-1)[0])
    factor = 1 / factor if scaling.op_type == "Div" and factor else factor
    require(math.isclose(factor, math.sqrt(0.5), rel_tol=1e-6), "the error function is not of x / √2")
    source = scaling.inputs[0]
    assert source is not None
    node = only_reader(produced_by(erf.outputs[0], "Erf"))
    require(node.op_type == "Add" and _number(node) == 1, "1 is not added to the error function")
    half = with_source = False
    while not (half and with_source):  # times x and times 1/2, in either order
        node = only_reader(node)
        require(node.op_type == "Mul", "1 + erf is not multiplied by x and 1/2")
        if source in node.inputs and not with_source:
            with_source = True
        elif any(_is_half(value, source) for value in node.inputs) and not (half or with_source):
            half = with_source = True
        else:
            require(_number(node) == 0.5 and not half, "1 + erf is multiplied by something else")
            half = True
    require(not node.outputs[0].is_graph_output(), "it is an output of the graph")
    return source, node


def _is_half(value: ir.Value | None, source: ir.Value) -> bool:
    node = value.producer() if value is not None else None
    return node is not None and node.op_type == "Mul" and source in node.inputs and _number(node) == 0.5


def _number(node: ir.Node) -> float | None:
    """The constant operand of a binary operator, where it is one number."""
    for value in node.inputs:
        tensor = ir.convenience.get_const_tensor(value) if value is not None else None
        if tensor is not None and tensor.size == 1:
            return float(tensor.numpy().reshape(-1)[0])
    return None
