"""Pictures on which a resize shows its rounding, and the resize of a bundle's graph by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from segexport.graph import resize
from segexport.graph.build import Writer
from segexport.spec import Size

Resize = Callable[[np.ndarray], np.ndarray]


def model(source: Size, size: Size, resample: int, batch: int | str = 1) -> onnx.ModelProto:
    """Raw images in, resized images out, as the preprocessing of a bundle does it."""
    image = ir.Value(name="image", type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape([batch, *source, 3]))
    graph = ir.Graph([image], [], nodes=[], opset_imports={"": 18}, name="resize")
    writer = Writer(graph, "resize")
    value = writer.op("Cast", [image], shape=[batch, *source, 3], to=int(ir.DataType.FLOAT))
    value = resize.append(writer, value, size, resample)
    value.name = "resized"
    graph.outputs.append(value)
    return ir.to_proto(ir.Model(graph, ir_version=10))


def on_onnxruntime(proto: onnx.ModelProto) -> Resize:
    import onnxruntime as ort

    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})[0]


def noise(size: Size, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def black_and_white(size: Size, seed: int) -> np.ndarray:
    return (noise(size, seed) & 1) * np.uint8(255)


def checkerboard(size: Size, seed: int) -> np.ndarray:
    field = (np.indices(size).sum(0) // (1 + seed % 3) % 2 * 255).astype(np.uint8)
    return np.stack([field, 255 - field, field], -1)


def ramp(size: Size, seed: int) -> np.ndarray:
    """Neighbours that differ by one level: sums of exactly half a level are frequent."""
    return ((np.indices(size).sum(0)[..., None] + [0, seed, 128]) % 256).astype(np.uint8)


PICTURES = (noise, black_and_white, checkerboard, ramp)
