"""The graph under examination: its nodes, with the types and shapes that TensorRT sees."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from segexport.errors import DataError
from segexport.graph.macs import Shape
from segexport.lint.shapes import infer
from segexport.lint.types import types_of


class Subject:
    """A model, its local functions inlined, as checks ask about it."""

    def __init__(self, model: ir.Model) -> None:
        if model.functions:
            model = model.clone()
            common_passes.InlinePass()(model)
        self.model = model
        self.nodes = tuple(model.graph.all_nodes())
        self.types = types_of(model, self.nodes)
        self.opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1))
        """Of ONNX's own operators."""

    @functools.cached_property
    def _inferred(self) -> tuple[dict[str, Shape], list[tuple[str, str, str]]]:
        return infer(self.model)

    @property
    def misfits(self) -> list[tuple[str, str, str]]:
        """Node, operator and reason where no shapes fit."""
        return self._inferred[1]

    def type(self, value: ir.Value | None) -> str | None:
        """TensorRT's element type; None where it is not known."""
        return None if value is None else self.types.get(value)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """Dimensions as far as they are known; None where not even their number is."""
        if value is None:
            return None
        tensor = ir.convenience.get_const_tensor(value)
        return self._inferred[0].get(value.name or "") if tensor is None else tuple(tensor.shape.numpy())

    def inputs(self) -> list[ir.Value]:
        """What the caller gives: the graph's inputs without those that have a constant as default."""
        return [value for value in self.model.graph.inputs if not value.is_initializer()]

    def of(self, *operators: str) -> Iterator[ir.Node]:
        """Nodes of these operators, in order."""
        return (node for node in self.nodes if node.op_type in operators)


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """An input, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """A constant's numbers, or None where it is computed, or left out."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def require_whole(model: ir.Model, path: Path) -> None:
    """Refuse a graph that makes nothing, or whose weights are elsewhere and missing.

    Raises:
        DataError: no outputs, or a file of weights that is not there.
    """
    if not model.graph.outputs:
        raise DataError(f"{path} has a graph without outputs, so there is nothing to compute: export it again")
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and not Path(tensor.path).is_file():
            raise DataError(f"{path} keeps weights in {tensor.path}, which is missing: put that file beside it")
