"""The image side: raw uint8 pixels to the network's input, as operators in the graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from segexport.graph import resize
from segexport.graph.build import Writer, batch_dim, dims
from segexport.spec import IMAGE, Contract, Preprocessing

SCOPE = "preprocess"
"""What names of nodes begin with that prepare the image."""


def prepend(graph: ir.Graph, contract: Contract, preprocessing: Preprocessing) -> None:
    """Replace the graph's float input [N, 3, H, W] by `image`, uint8 [N, h, w, 3] in the contract's image size.

    Cast comes first, because only Cast may touch uint8 in TensorRT. The resize, where there is one, is Pillow's, as the
    processor calls it. Rescale and normalise follow transformers' arithmetic step by step: pixel * factor, minus mean,
    divided by std, in float32. What a letterboxed image leaves of the network's input is zero.
    """
    pixel_values = graph.inputs[0]
    batch = batch_dim(contract.batch)
    shape = ir.Shape([batch, *contract.image_size, 3])
    image = ir.Value(name=IMAGE, type=ir.TensorType(ir.DataType.UINT8), shape=shape)
    writer = Writer(graph, SCOPE, before=graph[0])
    value = writer.op("Cast", [image], shape=dims(image), to=int(ir.DataType.FLOAT))
    value = resize.append(writer, value, contract.content_size, preprocessing.resample)
    planes = [batch, 3, *contract.content_size]
    value = writer.op("Transpose", [value], shape=planes, perm=[0, 3, 1, 2])
    if contract.channel_order == "bgr":
        order = writer.constant([2, 1, 0], "bgr_to_rgb", np.int64)
        value = writer.op("Gather", [value, order], shape=planes, axis=1)
    if preprocessing.do_rescale:
        factor = writer.constant(preprocessing.rescale_factor, "rescale_factor", np.float32)
        value = writer.op("Mul", [value, factor], shape=planes)
    if preprocessing.do_normalize:
        mean = writer.constant(np.reshape(preprocessing.mean, (1, 3, 1, 1)), "mean", np.float32)
        std = writer.constant(np.reshape(preprocessing.std, (1, 3, 1, 1)), "std", np.float32)
        value = writer.op("Sub", [value, mean], shape=planes)
        value = writer.op("Div", [value, std], shape=planes)
    if contract.content_size != contract.size:
        value = _letterboxed(writer, value, contract)
    pixel_values.replace_all_uses_with(value)
    graph.inputs[0] = image


def _letterboxed(writer: Writer, value: ir.Value, contract: Contract) -> ir.Value:
    """[N, 3, h, w] inside zeros of the network's size."""
    (height, width), (top, left) = contract.content_size, contract.content_offset
    bottom, right = contract.size[0] - top - height, contract.size[1] - left - width
    widths = writer.constant([0, 0, top, left, 0, 0, bottom, right], "letterbox", np.int64)
    return writer.op("Pad", [value, widths], shape=[*dims(value)[:2], *contract.size])
