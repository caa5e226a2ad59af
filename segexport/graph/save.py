"""Writing and checking an ONNX file without copies of all weights: they go from where they are into the file.

`onnx_ir.save` makes a protobuf message, with a copy of every tensor, and its bytes, with another: three times the
weights in memory. Here the message holds everything but large tensors, and those are written behind it one by one, in
the format's own framing (https://protobuf.dev/programming-guides/encoding, onnx.proto): the file is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

_LARGE = 1024
"""Bytes from which on a tensor is left out of the message: shapes and scalars, which a check reads, stay in it."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Numbers of the fields ModelProto.graph, GraphProto.initializer and TensorProto.raw_data."""


def save_model(model: ir.Model, path: Path) -> None:
    """Write a self-contained .onnx file."""
    with _without_large(model) as (message, tensors):
        graph = message.graph.SerializeToString(deterministic=True)
        message.ClearField("graph")
        heads = [_head(tensor) for tensor in tensors]
        size = len(graph) + sum(len(head) + tensor.nbytes for head, tensor in zip(heads, tensors, strict=True))
        with path.open("wb") as file:
            file.write(message.SerializeToString(deterministic=True))
            file.write(_key(_GRAPH, size))
            file.write(graph)
            for head, tensor in zip(heads, tensors, strict=True):
                file.write(head)
                file.write(tensor.tobytes())


def check_model(model: ir.Model) -> None:
    """Hold a model against ONNX's specification, shapes and types included; large tensors stand in as inputs.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: it does not follow it.
    """
    with _without_large(model) as (message, tensors):
        for tensor in tensors:
            shape = [int(side) for side in tensor.shape.numpy()]
            message.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name or "", tensor.dtype, shape))
        onnx.checker.check_model(message, full_check=True)


@contextmanager
def _without_large(model: ir.Model) -> Iterator[tuple[onnx.ModelProto, list[ir.TensorProtocol]]]:
    """The model's message without its large initializers, and their tensors."""
    initializers = model.graph.initializers
    everything = dict(initializers)
    large = {
        name: value.const_value
        for name, value in everything.items()
        if value.const_value is not None and value.const_value.nbytes >= _LARGE
    }
    try:
        for name in large:
            del initializers[name]
        yield ir.to_proto(model), list(large.values())
    finally:
        initializers.clear()
        initializers.update(everything)


def _head(tensor: ir.TensorProtocol) -> bytes:
    """What stands before a tensor's bytes in the graph's message: its key and length, name, type, shape."""
    message = onnx.TensorProto(name=tensor.name, data_type=tensor.dtype, dims=tensor.shape.numpy())
    facts: bytes = message.SerializeToString(deterministic=True) + _key(_RAW_DATA, tensor.nbytes)
    return _key(_INITIALIZER, len(facts) + tensor.nbytes) + facts


def _key(field: int, length: int) -> bytes:
    """The key of a field that is a message or bytes, and its length."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))
