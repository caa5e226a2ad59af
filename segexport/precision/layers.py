"""The layers of a graph that a precision can be chosen for: convolutions and linear layers with constant weights.

A layer is known by the module it came from, which survives the rewrites, so that one description of a placement holds
for the portable graph and for every engine's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport.graph.preprocess import SCOPE
from segexport.passes.match import attribute, scope_of

Kind = Literal["convolution", "depthwise", "linear"]


@dataclass(frozen=True)
class Layer:
    """One layer: `node` reads `weight` (its second input), whose dimension `axis` is the output's channels."""

    name: str
    kind: Kind
    node: ir.Node
    weight: npt.NDArray[np.floating]
    axis: int

    @property
    def input(self) -> ir.Value:
        """The activation it reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value


def layers(graph: ir.Graph) -> Iterator[Layer]:
    """Every layer of `graph`, in its order.

    Products of attention, whose operands both are computed, are none; nor is what resizes the image before them.
    """
    taken: set[str] = set()
    for node in graph:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or node.domain != "":
            continue
        constant = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
        if constant is None:
            continue
        weight = constant.numpy()
        kind: Kind = "convolution"
        axis = 0
        if node.op_type != "Conv":
            if weight.ndim != 2:
                continue
            kind, axis = "linear", 0 if attribute(node, "transB", 0) else 1
        elif attribute(node, "group", 1) != 1:
            kind = "depthwise"
        name = scope_of(node)
        if name == SCOPE:
            continue
        if name in taken:
            raise AssertionError(f"two layers are named {name}")
        taken.add(name)
        yield Layer(name, kind, node, weight, axis)
