"""Walking a graph upwards from a value, for passes that match a pattern by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport.graph.build import dims
from segexport.passes.base import Decline

Float64 = npt.NDArray[np.float64]


def produced_by(value: ir.Value | None, op_type: str) -> ir.Node:
    """The node that makes `value`, which must be an `op_type` that nothing else reads.

    Raises:
        Decline: another operator, a graph input, or a value with other readers.
    """
    node = value.producer() if value is not None else None
    if node is None or node.op_type != op_type:
        found = node.op_type if node is not None else "an input or constant"
        raise Decline(f"expected {op_type}, found {found}")
    if len(list(node.outputs[0].uses())) != 1 or node.outputs[0].is_graph_output():
        raise Decline(f"{node.name} has other readers")
    return node


def only_reader(node: ir.Node) -> ir.Node:
    """The one node that reads what `node` makes.

    Raises:
        Decline: none or several, or the graph's output.
    """
    readers = [use.node for use in node.outputs[0].uses()]
    if len(readers) != 1 or node.outputs[0].is_graph_output():
        raise Decline(f"{node.name} has other readers")
    return readers[0]


def constant(value: ir.Value | None, what: str) -> Float64:
    """A constant's numbers in float64, the precision passes compute in.

    Raises:
        Decline: `value` is computed at run time.
    """
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    if tensor is None:
        raise Decline(f"{what} is not a constant")
    return tensor.numpy().astype(np.float64)


def require(condition: bool, reason: str) -> None:
    """Decline with `reason` unless `condition` holds."""
    if not condition:
        raise Decline(reason)


def attribute(node: ir.Node, name: str, default: object) -> object:
    """An attribute's value as plain Python, lists as tuples."""
    attr = node.attributes.get(name)
    if attr is None:
        return default
    value = attr.value
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def scope_of(node: ir.Node) -> str:
    """The module a node came from: its name up to the last slash, for the names of what replaces it."""
    return (node.name or "").rpartition("/")[0] or "rewritten"


def flattens(planes: ir.Value | None, flat: ir.Value) -> bool:
    """Whether `flat` [N, C, HW] is `planes` [N, C, H, W] with its plane in one dimension, all sizes known."""
    if planes is None or planes.shape is None or flat.shape is None:
        return False
    four, three = dims(planes), dims(flat)
    if len(four) != 4 or len(three) != 3 or not all(isinstance(d, int) for d in (*four[1:], *three[1:])):
        return False
    return four[:2] == three[:2] and int(four[2]) * int(four[3]) == three[2]
