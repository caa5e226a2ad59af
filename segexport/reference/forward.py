"""SegFormer's forward pass in NumPy, float32, one image at a time: slow, plain, and nobody else's.

It is what a bundle's golden image is held against, and so shares nothing with the graph that it checks but the files
and the configuration: grid, epsilons, the scale of attention, the order of the head and the positions of upsampling are
stated here once more. Tests compare it with PyTorch.

Sources: Xie et al. 2021 (arXiv:2105.15203), section 3; transformers, `modeling_segformer.py`; for `.pth` files the
modules of NVlabs/SegFormer (`mix_transformer.py`) and mmsegmentation (`mit.py`, `segformer_head.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from segexport import machine
from segexport.segformer import Structure
from segexport.segformer.names import disk_name

Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]

_BLOCK = 1 << 18
"""Numbers that are computed at a time, so that they stay in a core's cache: the same blocks on every machine."""

_QUERIES = 1024
"""Rows of an attention's scores that are computed at a time."""

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
    """Planes are [height, width, channels]. What is computed of a block of rows is written where it belongs."""

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
        """Stages are concatenated from the last to the first, so that the first stage's channels come last.

        The fusing layer is applied to each stage before that is upsampled, as both are linear and one acts on channels
        alone, the other on places.
        """
        height, width, _ = planes[0].shape
        fuse = self._tensor("decode_head.linear_fuse.weight")[:, :, 0, 0]
        scale, offset = (self._tensor(f"decode_head.batch_norm.{kind}") for kind in ("weight", "bias"))
        mean, variance = (self._tensor(f"decode_head.batch_norm.running_{kind}") for kind in ("mean", "var"))
        deviation = np.sqrt(variance + np.float32(1e-5))
        weight, bias = (self._tensor(f"decode_head.classifier.{kind}") for kind in ("weight", "bias"))
        stages = []
        for i, plane in enumerate(planes):
            projected = self.linear(f"decode_head.linear_projections.{i}.proj", plane)
            if self._structure.style == "mmsegmentation":
                projected = np.maximum(projected, 0)
            first = (len(planes) - 1 - i) * projected.shape[-1]
            fused = self._product(projected, fuse[:, first : first + projected.shape[-1]].T)
            stages.append((fused, *map(upsampled_positions, plane.shape[:2], (height, width))))
        found: Floats = np.empty((height, width, len(weight)), np.float32)

        def compute(block: slice) -> None:
            total: Floats = np.zeros((len(found[block]), width, len(fuse)), np.float32)
            for fused, rows, columns in stages:
                total += columns @ np.tensordot(rows[block], fused, 1)
            total -= mean
            total /= deviation
            total *= scale
            total += offset
            np.maximum(total, 0, out=total)
            scores = total.reshape(-1, len(fuse)) @ weight[:, :, 0, 0].T
            found[block] = (scores + bias).reshape(-1, width, len(weight))

        self._each_block(height, width * len(fuse), compute)
        return found

    def linear(self, name: str, value: Floats) -> Floats:
        """[..., channels] -> [..., outputs]."""
        return self._product(value, self._tensor(f"{name}.weight").T, self._tensor(f"{name}.bias"))

    def _product(self, value: Floats, matrix: Floats, bias: Floats | None = None) -> Floats:
        rows = value.reshape(-1, value.shape[-1])
        found: Floats = np.empty((len(rows), matrix.shape[1]), np.float32)

        def compute(block: slice) -> None:
            np.matmul(rows[block], matrix, out=found[block])
            if bias is not None:
                found[block] += bias

        self._each_block(len(rows), matrix.shape[1], compute)
        return found.reshape(*value.shape[:-1], matrix.shape[1])

    def _block(self, name: str, planes: Floats, stage: int) -> Floats:
        normed = self._layer_norm(f"{name}.layernorm_before", planes)
        planes = planes + self._attention(f"{name}.attention", normed, stage)
        normed = self._layer_norm(f"{name}.layernorm_after", planes)
        planes += self._feed_forward(f"{name}.mlp", normed)
        return planes

    def _feed_forward(self, name: str, planes: Floats) -> Floats:
        """A linear layer, a 3x3 kernel for each channel with zeros around, the activation, a linear layer."""
        height, width, channels = planes.shape
        hidden = np.pad(self.linear(f"{name}.fc1", planes), ((1, 1), (1, 1), (0, 0)))
        kernel, kernel_bias = (self._tensor(f"{name}.dwconv.dwconv.{kind}") for kind in ("weight", "bias"))
        weight, bias = (self._tensor(f"{name}.fc2.{kind}") for kind in ("weight", "bias"))
        activation = _relu if self._structure.activation == "relu" else _gelu
        found: Floats = np.empty_like(planes)

        def compute(block: slice) -> None:
            rows = len(found[block])
            total: Floats = np.empty((rows, width, len(kernel)), np.float32)
            product = np.empty_like(total)
            total[:] = kernel_bias
            for row in range(3):
                for column in range(3):
                    first = block.start + row
                    np.multiply(
                        hidden[first : first + rows, column : column + width], kernel[:, 0, row, column], out=product
                    )
                    total += product
            active = activation(total).reshape(-1, len(kernel))
            found[block] = (active @ weight.T + bias).reshape(rows, width, channels)

        self._each_block(height, width * len(kernel), compute)
        return found

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

        def compute(part: tuple[int, int]) -> None:
            head, start = part
            rows = slice(start, start + _QUERIES)
            scores = queries[rows, head] @ keys[:, head].T
            scores /= np.float32(math.sqrt(each))
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            found[rows, head] = scores @ values[:, head]

        list(self._pool.map(compute, itertools.product(range(heads), range(0, len(queries), _QUERIES))))
        return self.linear(f"{name}.o_proj", found.reshape(height, width, channels))

    def _layer_norm(self, name: str, value: Floats) -> Floats:
        """transformers' norms have 1e-5, the authors' as well inside of embeddings and attention; all others 1e-6."""
        epsilon = 1e-5
        inner = "patch_embeddings" in name or "attention" in name
        if self._structure.style == "mmsegmentation" or (self._structure.style == "nvlabs" and not inner):
            epsilon = 1e-6
        weight, bias = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
        found: Floats = np.empty_like(value)

        def compute(block: slice) -> None:
            centred = value[block] - value[block].mean(-1, keepdims=True)
            centred /= np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(epsilon))
            centred *= weight
            np.add(centred, bias, out=found[block])

        self._each_block(len(value), math.prod(value.shape[1:]), compute)
        return found

    def _convolution(self, name: str, planes: Floats, side: int, stride: int, padding: int) -> Floats:
        weight, bias = self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")
        padded = np.pad(planes, ((padding, padding), (padding, padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (0, 1))[::stride, ::stride]
        height, width = windows.shape[:2]
        matrix = weight.reshape(len(weight), -1).T  # channels, rows, columns: as the windows have them
        found: Floats = np.empty((height, width, len(weight)), np.float32)

        def compute(block: slice) -> None:
            product = windows[block].reshape(-1, len(matrix)) @ matrix
            found[block] = (product + bias).reshape(-1, width, len(weight))

        self._each_block(height, width * len(matrix), compute)
        return found

    def _each_block(self, rows: int, row_size: int, compute: Callable[[slice], None]) -> None:
        """Compute all rows, so many at a time that they hold `_BLOCK` numbers, on as many cores as there are."""
        count = max(1, _BLOCK // row_size)
        list(self._pool.map(compute, (slice(start, start + count) for start in range(0, rows, count))))

    def _tensor(self, name: str) -> Floats:
        return self._tensors[disk_name(name)]


def _relu(value: Floats) -> Floats:
    found: Floats = np.maximum(value, 0)
    return found


def _gelu(value: Floats) -> Floats:
    """x / 2 (1 + erf(x / sqrt(2)))."""
    size = np.abs(value)
    size *= np.float32(math.sqrt(0.5))
    place = size * np.float32(0.3275911)
    place += 1
    np.reciprocal(place, out=place)
    series: Floats = np.zeros_like(place)
    for factor in reversed(_ERF):
        series += np.float32(factor)
        series *= place
    np.square(size, out=size)
    np.negative(size, out=size)
    series *= np.exp(size, out=size)
    np.subtract(1, series, out=series)
    found: Floats = np.copysign(series, value)
    found += 1
    found *= np.float32(0.5) * value
    return found
