"""Logits of all kinds, and their class maps as PyTorch and ONNX Runtime make them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from hypothesis import strategies as st

from segexport.graph.build import Writer
from segexport.spec import Size

# Vectors hold 16 classes: fewer, whole vectors, and one more or less.
CLASSES = st.sampled_from([1, 2, 3, 15, 16, 17, 31, 32, 33, 150, 255]) | st.integers(1, 255)


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def equal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, rng.integers(-2, 3))


def few_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-2, 3, shape)


def one_pixel_classes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    logits = np.zeros(shape)
    logits[..., rng.integers(shape[3])] = 1
    for _ in range(3):
        logits[tuple(rng.integers(shape))] = 3
    return logits


def huge(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape) * 1e30


def negative(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return -1 - np.abs(rng.normal(size=shape))


def winner_inside(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Points alternate between the first class and the others; the last is just below them everywhere."""
    logits = np.full(shape, -1.0)
    ys, xs = np.indices(shape[1:3])
    logits[:, ys, xs, (ys + xs) % 2 * rng.integers(shape[3])] = 1
    logits[..., -1] = 0.5
    return logits


def on_the_border(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    logits = rng.normal(size=shape)
    edge = rng.integers(shape[3], size=4)
    logits[:, 0, :, edge[0]] = logits[:, -1, :, edge[1]] = 3
    logits[:, :, 0, edge[2]] = logits[:, :, -1, edge[3]] = 4
    return logits


KINDS = [noise, equal, few_values, one_pixel_classes, huge, negative, winner_inside, on_the_border]


def logits_of(kind, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return kind(np.random.default_rng(seed), shape).astype(np.float32)


def upsampled(logits: np.ndarray, size: Size) -> np.ndarray:
    """PyTorch's bilinear upsampling of [N, h, w, classes]; [N, classes, *size]."""
    planes = torch.from_numpy(np.ascontiguousarray(logits.transpose(0, 3, 1, 2)))
    return torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False).numpy()


class OnnxRuntime:
    """Resize and ArgMax as a bundle's portable graph ends, of any logits."""

    def __init__(self, classes: int, size: Size) -> None:
        logits = ir.Value(
            name="logits", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", classes, "h", "w"])
        )
        graph = ir.Graph([logits], [], nodes=[], opset_imports={"": 18}, name="plain")
        writer = Writer(graph, "plain")
        planes = writer.resize_bilinear(logits, size)
        planes.name = "planes"
        winner = writer.op("ArgMax", [planes], dtype=ir.DataType.INT64, shape=["n", *size], axis=1, keepdims=0)
        winner.name = "winner"
        graph.outputs.extend([planes, winner])
        content = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
        self._session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])

    def __call__(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        planes, winner = self._session.run(
            ["planes", "winner"], {"logits": np.ascontiguousarray(logits.transpose(0, 3, 1, 2))}
        )
        return planes, winner


def assert_equal_maps(found: np.ndarray, logits: np.ndarray, planes: np.ndarray, want: np.ndarray) -> None:
    """The same class wherever the best two of `planes` are further apart than 1e-5 of their magnitude.

    The magnitude is that of the two classes' logits, not of their sums: where large ones cancel, or weigh next to
    nothing, the rounding of the weights is all that is left.
    """
    assert found.dtype == np.uint8
    assert found.shape == want.shape
    differs = found != want
    if not differs.any():
        return
    magnitude = np.broadcast_to(np.abs(logits).max((1, 2))[..., None, None], planes.shape)
    ids = (found.astype(np.int64)[:, None], want.astype(np.int64)[:, None])
    mine, best = (np.take_along_axis(planes, i, 1)[:, 0] for i in ids)
    largest = np.maximum(*(np.take_along_axis(magnitude, i, 1)[:, 0] for i in ids))
    wrong = differs & (best - mine > 1e-5 * largest)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} pixels, first at {np.argwhere(wrong)[0]}"


def streets(grid: Size, classes: int) -> np.ndarray:
    """Fields of one class with noise at their borders, as the logits of a real picture; float32 [1, *grid, classes]."""
    rng = np.random.default_rng(0)
    field = upsampled(logits_of(noise, 1, (1, 9, 16, classes)), grid).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(field + 0.05 * rng.normal(size=field.shape), np.float32)
