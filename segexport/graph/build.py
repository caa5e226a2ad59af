"""Small pieces for writing nodes into an onnx_ir graph, in the forms TensorRT takes too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport.spec import DYNAMIC, Size


class Writer:
    """Adds nodes to a graph: at its end, or before a node that is already there. Names start with `scope`."""

    def __init__(self, graph: ir.Graph, scope: str, before: ir.Node | None = None) -> None:
        self._graph = graph
        self._scope = scope
        self._before = before
        self._count = 0
        self._taken = {node.name for node in graph}

    def constant(self, array: npt.ArrayLike, name: str, dtype: type[np.generic]) -> ir.Value:
        """An initializer; a name already taken gets a number."""
        base = name = f"{self._scope}.{name}"
        count = 0
        while name in self._graph.initializers:
            count += 1
            name = f"{base}_{count}"
        numbers = np.asarray(array, dtype=dtype)
        tensor = ir.tensor(numbers, name=name)
        value = ir.Value(name=name, shape=ir.Shape(numbers.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        dtype: ir.DataType = ir.DataType.FLOAT,
        shape: Sequence[int | str] | None = None,
        name: str | None = None,
        domain: str = "",
        **attributes: int | float | str | Sequence[int],
    ) -> ir.Value:
        """One node with one output; `domain` is the operator's, empty for ONNX's own."""
        return self.ops(op_type, inputs, [(dtype, shape)], name=name, domain=domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[tuple[ir.DataType, Sequence[int | str] | None]],
        *,
        name: str | None = None,
        domain: str = "",
        **attributes: int | float | str | Sequence[int],
    ) -> Sequence[ir.Value]:
        """One node with an output for each (dtype, shape)."""
        while (node_name := f"{self._scope}/{name or op_type}_{self._count}") in self._taken:
            self._count += 1
        self._count += 1
        values = [
            ir.Value(
                name=f"{node_name}:{i}",
                type=ir.TensorType(dtype),
                shape=None if shape is None else ir.Shape(shape),
            )
            for i, (dtype, shape) in enumerate(outputs)
        ]
        node = ir.node(op_type, list(inputs), domain=domain, attributes=attributes, outputs=values, name=node_name)
        if self._before is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(self._before, node)
        return values

    def resize_bilinear(self, value: ir.Value, size: Size, *, name: str = "upsample") -> ir.Value:
        """Bilinear resize of [N, C, h, w] to `size`, sampling at pixel centres without antialiasing.

        What `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` computes. With a dynamic batch
        the output shape is assembled from the input's: Resize's `axes` would be shorter, but came late (opset 18).
        """
        assert value.shape is not None
        batch, channels = value.shape[0], value.shape[1]
        if isinstance(batch, int):
            assert isinstance(channels, int)
            sizes = self.constant([batch, channels, *size], f"{name}_sizes", np.int64)
        else:
            kept = self.op("Shape", [value], dtype=ir.DataType.INT64, shape=[2], start=0, end=2)
            target = self.constant(size, f"{name}_size", np.int64)
            sizes = self.op("Concat", [kept, target], dtype=ir.DataType.INT64, shape=[4], axis=0)
        return self.op(
            "Resize",
            [value, None, None, sizes],
            shape=[*dims(value)[:2], *size],
            name=name,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )


def dims(value: ir.Value) -> list[int | str]:
    """A value's shape as plain ints and names."""
    assert value.shape is not None
    return [d if isinstance(d, int) else str(d.value) for d in value.shape]


def batch_dim(batch: int) -> int | str:
    """The first dimension of a contract's tensors: a number, or a name when it is left open."""
    return "batch" if batch == DYNAMIC else batch
