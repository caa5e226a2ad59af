"""The mask side: the network's logits to what the contract promises, as operators in the graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.spec import Contract, Size

SCOPE = "postprocess"
"""What names of nodes begin with that make the contract's outputs of the logits."""


def append(graph: ir.Graph, contract: Contract) -> None:
    """Replace the graph's output `logits` by the contract's outputs.

    Segmentation: the logits without the margins of a letterboxed image, bilinear upsampling of them to the mask's size
    (where it is not theirs already), argmax over classes with ties to the lowest id, and Cast to uint8, the only way to
    a uint8 output in TensorRT.
    Classification: softmax and the k best.
    """
    logits = graph.outputs[0]
    logits.name = "network_logits"  # leaves the name free for the contract's output
    writer = Writer(graph, SCOPE)
    if contract.output == "topk":
        values = _topk(writer, logits, contract)
    elif contract.mask_size is None:  # the class scores of an image classifier
        values = (logits,)
    else:
        values = _segmentation(writer, logits, contract, contract.mask_size)
    graph.outputs.clear()
    for name, value in zip(contract.outputs, values, strict=True):
        value.name = name
        graph.outputs.append(value)


def _segmentation(writer: Writer, logits: ir.Value, contract: Contract, size: Size) -> tuple[ir.Value, ...]:
    if contract.content_size != contract.size:
        logits = _content(writer, logits, contract)
    batch, _, height, width = dims(logits)
    if (height, width) != size:
        logits = writer.resize_bilinear(logits, size)
    if contract.output == "logits":
        return (logits,)
    plane = [batch, *size]
    winner = writer.op("ArgMax", [logits], dtype=ir.DataType.INT64, shape=plane, axis=1, keepdims=0)
    mask = writer.op("Cast", [winner], dtype=ir.DataType.UINT8, shape=plane, to=int(ir.DataType.UINT8))
    if contract.output == "mask":
        return (mask,)
    probability = writer.op("Softmax", [logits], shape=dims(logits), axis=1)
    axes = writer.constant([1], "class_axis", np.int64)
    confidence = writer.op("ReduceMax", [probability, axes], shape=plane, keepdims=0)
    return mask, confidence


def _content(writer: Writer, logits: ir.Value, contract: Contract) -> ir.Value:
    """The logits of a letterboxed image, which begins where one of them is and covers whole ones."""
    grid = contract.grid.of(contract.content_size)
    start = [offset // contract.grid.stride for offset in contract.content_offset]
    end = [first + count for first, count in zip(start, grid, strict=True)]
    bounds = [writer.constant(numbers, "content", np.int64) for numbers in (start, end, [2, 3])]
    return writer.op("Slice", [logits, *bounds], shape=[*dims(logits)[:2], *grid], name="content")


def _topk(writer: Writer, logits: ir.Value, contract: Contract) -> tuple[ir.Value, ...]:
    batch = dims(logits)[0]
    probability = writer.op("Softmax", [logits], shape=dims(logits), axis=1)
    count = writer.constant([contract.topk], "k", np.int64)
    shape = [batch, contract.topk]
    best, index = writer.ops(
        "TopK", [probability, count], [(ir.DataType.FLOAT, shape), (ir.DataType.INT64, shape)], axis=1
    )
    classes = writer.op("Cast", [index], dtype=ir.DataType.INT32, shape=shape, to=int(ir.DataType.INT32))
    return classes, best
