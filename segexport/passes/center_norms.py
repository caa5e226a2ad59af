"""Turn LayerNorm into RMSNorm by centring, in the weights, everything it reads.

Source: Ashkboos et al. 2024 (SliceGPT, arXiv:2401.15024), section 3.1: LayerNorm(x) = RMSNorm(x - mean(x)) γ + β, and
the mean over channels of a linear layer's output goes away with that of its weights, C (W x + b) = (C W) x + (C b) with
C = 1 - 11ᵀ/n. A sum of centred values is centred, so the residual stream of a stage needs centring where it begins,
and its layers' weights. OpenVINO recognises RMSNorm and computes it in a third of
LayerNorm's time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.linear import linear_making
from segexport.passes.match import Float64, attribute, constant, require, scope_of
from segexport.spec import Claim, Declined, PassResult


class CenterNorms:
    """Before and after, for a block's residual stream and for an embedding:

    z -> LayerNorm;  z + Linear W -> LayerNorm;  ...        Conv W -> tokens -> LayerNorm
    z - mean z -> RMSNorm;  ... + Linear C W -> RMSNorm;    Conv C W -> tokens -> RMSNorm
    """

    name = "center-norms"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every LayerNorm of `graph` in place whose input can be centred."""
        centred: set[ir.Value] = set()
        ready, declined = [], []
        for norm in [node for node in graph.model.graph if node.op_type == "LayerNormalization"]:
            try:
                require(attribute(norm, "axis", -1) in (-1, 2), "it is not over the channels")
                require(not norm.outputs[0].is_graph_output(), "it is an output of the graph")
                if norm.inputs[0] not in centred:
                    _center(graph.model.graph, norm.inputs[0], centred)
            except Decline as reason:
                declined.append(Declined(norm.name or "LayerNormalization", str(reason)))
                continue
            ready.append(norm)
        for norm in ready:  # only now: until here a LayerNorm's output is known by being one
            _write(graph.model.graph, norm)
        names = tuple(norm.name or "LayerNormalization" for norm in ready)
        return PassResult(self.name, self.claim, names, tuple(declined))


def _write(graph: ir.Graph, norm: ir.Node) -> None:
    source, gamma = norm.inputs[0], norm.inputs[1]
    assert source is not None
    beta = norm.inputs[2] if len(norm.inputs) > 2 else None
    epsilon = attribute(norm, "epsilon", 1e-5)
    assert isinstance(epsilon, float)
    writer = Writer(graph, scope_of(norm), before=norm)
    shape = dims(source)
    one = [*shape[:-1], 1]
    squares = writer.op("Pow", [source, writer.constant(2.0, "two", np.float32)], shape=shape)
    axes = writer.constant([-1], "channels", np.int64)
    mean = writer.op("ReduceMean", [squares, axes], shape=one, keepdims=1)
    safe = writer.op("Add", [mean, writer.constant(epsilon, "epsilon", np.float32)], shape=one)
    inverse = writer.op("Reciprocal", [writer.op("Sqrt", [safe], shape=one)], shape=one)
    value = writer.op("Mul", [source, inverse], shape=shape)
    value = writer.op("Mul", [value, gamma], shape=shape)
    if beta is not None:
        value = writer.op("Add", [value, beta], shape=shape)
    norm.outputs[0].replace_all_uses_with(value)


def _center(graph: ir.Graph, value: ir.Value | None, centred: set[ir.Value]) -> None:
    """Make `value`, and all that is summed with it, zero in the mean over channels; `centred` remembers it."""
    assert value is not None
    sums, parts = _stream(value)
    layers, roots = [], []
    for part in parts:
        if (center := _centring(graph, part)) is not None:
            layers.append(center)
            continue
        node = part.producer()
        require(node is not None and node.op_type == "LayerNormalization", "it reads more than linear layers' outputs")
        roots.append(part)
    for center in layers:  # all of it can be done: nothing has been changed before this line
        center()
    for root in roots:
        uses = [use for use in root.uses() if _is_sum(use.node) or use.node.op_type == "LayerNormalization"]
        writer = Writer(graph, scope_of(uses[0].node), before=uses[0].node)
        axes = writer.constant([-1], "channels", np.int64)
        mean = writer.op("ReduceMean", [root, axes], shape=[*dims(root)[:-1], 1], keepdims=1)
        middle = writer.op("Sub", [root, mean], shape=dims(root))
        for use in uses:
            use.node.replace_input_with(use.idx, middle)
        centred.add(middle)
    centred.update(sums, (value,))


def _stream(value: ir.Value) -> tuple[list[ir.Value], list[ir.Value]]:
    """The residual sums that `value` is one of, and what they are sums of.

    Raises:
        Decline: something else than a LayerNorm or a further sum reads one of the sums.
    """
    pending, seen = [value], {value}
    sums: list[ir.Value] = []
    parts: list[ir.Value] = []
    while pending:
        current = pending.pop()
        node = current.producer()
        is_sum = node is not None and _is_sum(node)
        (sums if is_sum else parts).append(current)
        found = [v for v in node.inputs if v is not None] if node is not None and is_sum else []
        for use in current.uses():
            if _is_sum(use.node):
                found.append(use.node.outputs[0])
            elif is_sum:
                require(use.node.op_type == "LayerNormalization", f"{use.node.name} reads the sum too")
        require(not (is_sum and current.is_graph_output()), "the sum is the graph's output")
        pending += [v for v in dict.fromkeys(found) if v not in seen]
        seen.update(found)
    return sums, parts


def _is_sum(node: ir.Node) -> bool:
    """Whether a node adds two computed values of the same shape: a residual connection."""
    if node.op_type != "Add":
        return False
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return False
    return len(left.shape) == 3 and dims(left) == dims(right)


def _centring(graph: ir.Graph, value: ir.Value) -> Callable[[], None] | None:
    """What takes the mean over channels from the layer that makes `value`; None if it is neither linear nor its own.

    Raises:
        Decline: the layer's weights are no constants.
    """
    node = value.producer()
    while node is not None and node.op_type in ("Reshape", "Transpose") and _read_once(node):
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or not _read_once(node):
        return None
    if node.op_type == "Conv" and attribute(node, "group", 1) == 1:
        return _convolution(graph, node)
    if node.op_type == "Add" and node.outputs[0] is value:
        layer = linear_making(value)
        return lambda: layer.replace(graph, _less_mean(layer.weight, 1), _less_mean(layer.bias, 0))
    return None


def _convolution(graph: ir.Graph, conv: ir.Node) -> Callable[[], None]:
    arrays = {i: constant(v, f"a weight of {conv.name}") for i, v in enumerate(conv.inputs) if i > 0 and v is not None}

    def center() -> None:
        writer = Writer(graph, scope_of(conv), before=conv)
        for index, array in arrays.items():
            conv.replace_input_with(index, writer.constant(_less_mean(array, 0), "centred", np.float32))

    return center


def _less_mean(array: Float64, axis: int) -> Float64:
    centred: Float64 = array - array.mean(axis=axis, keepdims=True)
    return centred


def _read_once(node: ir.Node) -> bool:
    return len(list(node.outputs[0].uses())) == 1 and not node.outputs[0].is_graph_output()
