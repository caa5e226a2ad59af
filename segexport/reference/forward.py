"""SegFormer's forward pass in NumPy, float32, one image at a time: slow, plain, and nobody else's.

It is what a bundle's golden image is held against, and so shares nothing with the graph that it checks but the files
and the configuration: grid, epsilons, the scale of attention, the order of the head and the positions of upsampling are
stated here once more. Tests compare it with PyTorch.

Sources: Xie et al. 2021 (arXiv:2105.15203), section 3; transformers, `modeling_segformer.py`; for `.pth` files the
modules of NVlabs/SegFormer (`mix_transformer.py`) and mmsegmentation (`mit.py`, `segformer_head.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from segexport import machine
from segexport.segformer import Structure
from segexport.segformer.names import disk_name

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]

_ROWS = 4096
"""Rows of a product, or of an attention's scores, that are computed at a time: the same ones on every machine."""

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Abramowitz and Stegun 1964, 7.1.26: erf to 1.5e-7."""


def logits(structure: Structure, tensors: Tensors, image: Floats) -> Floats:
    """What the network makes of an image.

    Args:
        structure: with a head.
        tensors: float32, by their names on disk.
        image: float32 [H, W, channels], normalised.

    Returns:
        float32 [h, w, classes] in the first stage's size, or [classes] of an image classifier.
    """
    with ThreadPoolExecutor(machine.cores()) as pool:
        network = _Network(structure, tensors, pool)
        planes = network.encoder(image)
        if structure.head == "classification":
            mean = planes[-1].reshape(-1, planes[-1].shape[-1]).mean(0, keepdims=True)
            scores: Floats = network.linear("classifier", mean)[0]
            return scores
        return network.decode_head(planes)


def upsampled_positions(count: int, wanted: int) -> Floats:
    """Bilinear interpolation along one side as a matrix, float32 [wanted, count].

    Pixels are sampled at their centres: (i + 1/2) count / wanted - 1/2, and never before the first or behind the last
    (`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`).
    """
    scale = np.float32(count / wanted)
    places = np.maximum(scale * (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    lower = places.astype(np.int64)
    share = places - lower
    matrix = np.zeros((wanted, count), np.float32)
    rows = np.arange(wanted)
    np.add.at(matrix, (rows, lower), 1 - share)
    np.add.at(matrix, (rows, np.minimum(lower + 1, count - 1)), share)
    return matrix


class _Network:
    """Planes are [height, width, channels], tokens [height * width, channels]."""

    def __init__(self, structure: Structure, tensors: Tensors, pool: Executor) -> None:
        self._structure = structure
        self._tensors = tensors
        self._pool = pool

    def encoder(self, image: Floats) -> list[Floats]:
        planes, found = image, []
        for i in range(self._structure.stages):
            stage = f"segformer.stages.{i}"
            patch, stride = self._structure.patches[i], self._structure.strides[i]
            planes = self._convolution(f"{stage}.patch_embeddings.proj", planes, patch, stride, patch // 2)
            planes = self._layer_norm(f"{stage}.patch_embeddings.layer_norm", planes)
            for j in range(self._structure.depths[i]):
                planes = self._block(f"{stage}.blocks.{j}", planes, i)
            planes = self._layer_norm(f"{stage}.layer_norm", planes)
            found.append(planes)
        return found

    def decode_head(self, planes: list[Floats]) -> Floats:
        """Stages are concatenated from the last to the first, so that the first stage's channels come last."""
        height, width, _ = planes[0].shape
        fuse = self._tensor("decode_head.linear_fuse.weight")[:, :, 0, 0]
        total: Floats = np.zeros((height, width, len(fuse)), np.float32)
        for i, plane in enumerate(planes):
            projected = self.linear(f"decode_head.linear_projections.{i}.proj", plane)
            if self._structure.style == "mmsegmentation":
                projected = np.maximum(projected, 0)
            rows, columns = (upsampled_positions(*sides) for sides in zip(plane.shape, (height, width), strict=False))
            large = columns @ np.tensordot(rows, projected, 1)
            first = (len(planes) - 1 - i) * projected.shape[-1]
            total += self._product(large, fuse[:, first : first + projected.shape[-1]].T)
        norm = {kind: self._tensor(f"decode_head.batch_norm.{kind}") for kind in ("weight", "bias")}
        mean, variance = (self._tensor(f"decode_head.batch_norm.running_{kind}") for kind in ("mean", "var"))
        # In place: of B5 one such array has a hundred megabytes.
        total -= mean
        total /= np.sqrt(variance + np.float32(1e-5))
        total *= norm["weight"]
        total += norm["bias"]
        np.maximum(total, 0, out=total)
        weight = self._tensor("decode_head.classifier.weight")[:, :, 0, 0]
        found = self._product(total, weight.T)
        found += self._tensor("decode_head.classifier.bias")
        return found

    def linear(self, name: str, value: Floats) -> Floats:
        found = self._product(value, self._tensor(f"{name}.weight").T)
        found += self._tensor(f"{name}.bias")
        return found

    def _product(self, value: Floats, matrix: Floats) -> Floats:
        """`value @ matrix`, blocks of rows at a time, on as many cores as there are."""
        rows = value.reshape(-1, value.shape[-1])
        found: Floats = np.empty((len(rows), matrix.shape[1]), np.float32)

        def compute(start: int) -> None:
            np.matmul(rows[start : start + _ROWS], matrix, out=found[start : start + _ROWS])

        list(self._pool.map(compute, range(0, len(rows), _ROWS)))
        return found.reshape(*value.shape[:-1], matrix.shape[1])

    def _block(self, name: str, planes: Floats, stage: int) -> Floats:
        normed = self._layer_norm(f"{name}.layernorm_before", planes)
        planes = planes + self._attention(f"{name}.attention", normed, stage)
        normed = self._layer_norm(f"{name}.layernorm_after", planes)
        hidden = self._depthwise(f"{name}.mlp.dwconv.dwconv", self.linear(f"{name}.mlp.fc1", normed))
        hidden = np.maximum(hidden, 0) if self._structure.activation == "relu" else _gelu(hidden)
        return planes + self.linear(f"{name}.mlp.fc2", hidden)

    def _attention(self, name: str, planes: Floats, stage: int) -> Floats:
        heads, side = self._structure.heads[stage], self._structure.reductions[stage]
        height, width, channels = planes.shape
        shorter = planes
        if side > 1:
            shorter = self._convolution(f"{name}.sequence_reduction.sequence_reduction", planes, side, side, 0)
            shorter = self._layer_norm(f"{name}.sequence_reduction.layer_norm", shorter)
        each = channels // heads
        queries, keys, values = (
            self.linear(f"{name}.{kind}_proj", source).reshape(-1, heads, each)
            for kind, source in (("q", planes), ("k", shorter), ("v", shorter))
        )
        found: Floats = np.empty_like(queries)
        for head in range(heads):
            for start in range(0, len(queries), _ROWS):
                rows = slice(start, start + _ROWS)
                scores = queries[rows, head] @ keys[:, head].T
                scores /= np.float32(math.sqrt(each))
                scores -= scores.max(-1, keepdims=True)
                np.exp(scores, out=scores)
                scores /= scores.sum(-1, keepdims=True)
                found[rows, head] = scores @ values[:, head]
        return self.linear(f"{name}.o_proj", found.reshape(height, width, channels))

    def _layer_norm(self, name: str, value: Floats) -> Floats:
        """transformers' norms have 1e-5, the authors' as well inside of embeddings and attention; all others 1e-6."""
        epsilon = 1e-5
        inner = "patch_embeddings" in name or "attention" in name
        if self._structure.style == "mmsegmentation" or (self._structure.style == "nvlabs" and not inner):
            epsilon = 1e-6
        found: Floats = value - value.mean(-1, keepdims=True)
        found /= np.sqrt(np.square(found).mean(-1, keepdims=True) + np.float32(epsilon))
        found *= self._tensor(f"{name}.weight")
        found += self._tensor(f"{name}.bias")
        return found

    def _convolution(self, name: str, planes: Floats, side: int, stride: int, padding: int) -> Floats:
        weight = self._tensor(f"{name}.weight")
        padded = np.pad(planes, ((padding, padding), (padding, padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (0, 1))[::stride, ::stride]
        columns = windows.reshape(*windows.shape[:2], -1)  # channels, rows, columns: as the kernel has them
        return self._product(columns, weight.reshape(len(weight), -1).T) + self._tensor(f"{name}.bias")

    def _depthwise(self, name: str, planes: Floats) -> Floats:
        """A 3x3 kernel for each channel, with zeros around."""
        weight = self._tensor(f"{name}.weight")[:, 0]
        height, width, _ = planes.shape
        padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)))
        total: Floats = np.broadcast_to(self._tensor(f"{name}.bias"), planes.shape).copy()
        for row in range(3):
            for column in range(3):
                total += padded[row : row + height, column : column + width] * weight[:, row, column]
        return total

    def _tensor(self, name: str) -> Floats:
        return self._tensors[disk_name(name)]


def _gelu(value: Floats) -> Floats:
    """x / 2 (1 + erf(x / sqrt(2)))."""
    size = np.abs(value) * np.float32(math.sqrt(0.5))
    place = 1 / (1 + np.float32(0.3275911) * size)
    series = np.zeros_like(place)
    for factor in reversed(_ERF):
        series = (series + np.float32(factor)) * place
    series *= np.exp(-np.square(size))
    found: Floats = np.copysign(1 - series, value)
    found += 1
    found *= np.float32(0.5) * value
    return found
