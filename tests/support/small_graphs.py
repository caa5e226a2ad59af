"""ONNX graphs of a few nodes for the real builder of TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes, inputs, outputs, constants=None, opset: int = 18) -> Path:
    """Write a graph; inputs and outputs are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def segmenter(path: Path, *, batch: int | str = 1, height: int | str = 64, width: int | str = 96) -> Path:
    """uint8 image -> one convolution -> uint8 mask."""
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["logits"], name="classifier/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["mask"], to=TensorProto.UINT8),
    ]
    return save(
        path,
        nodes,
        [("image", TensorProto.UINT8, [batch, height, width, 3])],
        [("mask", TensorProto.UINT8, [batch, height, width])],
        {"weights": weights},
    )


def one_node(path: Path, operator: str, kinds=(TensorProto.FLOAT,), result=TensorProto.FLOAT, **attributes) -> Path:
    """float (or other) inputs [1, 8, 16, 16] -> one operator."""
    names = [f"x{i}" for i in range(len(kinds))]
    node = helper.make_node(operator, names, ["y"], name=f"the/{operator}", **attributes)
    inputs = [(name, kind, [1, 8, 16, 16]) for name, kind in zip(names, kinds, strict=True)]
    return save(path, [node], inputs, [("y", result, None)])
