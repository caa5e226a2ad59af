"""A SegFormer's graph, written from its structure and tensors with onnx_ir alone.

It is spelled as `torch.onnx.export` and onnxscript's optimiser spell transformers' modules with eager attention: a
linear layer as MatMul and Add, GELU by Erf, the scale of attention behind QK^T, BatchNorm folded into the convolution
before it. The rewrites match that form, and tests compare the two graphs node by node. Nodes are named by the modules
of transformers 5.

Sources: Xie et al. 2021 (arXiv:2105.15203), section 3; transformers, `modeling_segformer.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport.graph.build import Writer, batch_dim, dims
from segexport.segformer import names
from segexport.segformer.structure import BATCH_NORM_EPSILON, Place, Structure
from segexport.spec import DYNAMIC, Size

OPSET = 18
"""Takes LayerNormalization (17) and is accepted by every TensorRT from 10.0 on, ONNX Runtime and OpenVINO."""

IR_VERSION = 10

Tensors = Mapping[str, npt.NDArray[np.float32]]


def write(structure: Structure, tensors: Tensors, size: Size, batch: int = 1) -> ir.Model:
    """The plain graph: `pixel_values` float32 [N, channels, H, W] in, `logits` float32 out.

    Args:
        structure: with a head.
        tensors: float32, by the names of `parameters(structure)`. They are held, not copied, where their form allows.
        size: H and W.
        batch: N, or `DYNAMIC`.

    Returns:
        A model whose logits are [N, classes, h, w] in the size of the first stage, or [N, classes] of an image
        classifier.

    Raises:
        KeyError: a tensor is missing.
    """
    image = ir.Value(
        name="pixel_values",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape([batch_dim(batch), structure.channels, *size]),
    )
    graph = ir.Graph([image], [], nodes=[], opset_imports={"": OPSET}, name="main_graph")
    network = _Network(graph, structure, tensors, batch)
    sizes = structure.sizes(size)
    if structure.head == "segmentation":
        logits = network.decode_head(network.encoder(image, sizes), sizes)
    else:
        logits = network.classifier(network.encoder(image, sizes)[-1], sizes[-1])
    logits.name = "logits"
    graph.outputs.append(logits)
    return ir.Model(graph, ir_version=IR_VERSION)


class _Network:
    """Planes are [N, channels, height, width], tokens [N, height * width, channels]."""

    def __init__(self, graph: ir.Graph, structure: Structure, tensors: Tensors, batch: int) -> None:
        self._graph = graph
        self._structure = structure
        self._tensors = tensors
        self._batch = batch
        self._shared: dict[tuple[object, ...], ir.Value] = {}
        self._writers: dict[str, Writer] = {}

    def encoder(self, image: ir.Value, sizes: Sequence[Size]) -> list[ir.Value]:
        """The planes of every stage; of the last one of a classifier [N, height, width, channels]."""
        planes, found = image, []
        for i, size in enumerate(sizes):
            tokens = self._embedding(planes, i, size)
            for j in range(self._structure.depths[i]):
                tokens = self._block(tokens, i, j, size)
            scope = names.stage(i)
            tokens = self._layer_norm(f"{scope}.layer_norm", tokens, "stage")
            planes = self._reshape(scope, tokens, [*size, self._structure.widths[i]], free=2)
            if i + 1 < len(sizes) or self._structure.head == "segmentation":
                planes = self._transpose(scope, planes, (0, 3, 1, 2))
            found.append(planes)
        return found

    def decode_head(self, planes: Sequence[ir.Value], sizes: Sequence[Size]) -> ir.Value:
        """Every stage projected, upsampled to the first one's size, concatenated from the last to the first, fused."""
        width = self._structure.decoder
        assert width is not None
        head, found = names.DECODE_HEAD, []
        for i, (plane, size) in enumerate(zip(planes, sizes, strict=True)):
            scope = names.projection(i)
            tokens = self._flattened(scope, plane)
            tokens = self._linear(f"{scope}.proj", tokens)
            if self._structure.stage_relu:
                tokens = self._op(f"{scope}.proj", "Relu", [tokens], dims(tokens))
            found.append(self._resized(head, self._planes(head, tokens, size), sizes[0]))
        shape = [dims(found[0])[0], width * len(found), *sizes[0]]
        fused = self._fuse(self._op(head, "Concat", found[::-1], shape, axis=1))
        active = self._op(f"{head}.activation", "Relu", [fused], dims(fused))
        return self._convolution(names.SEGMENTER, active)

    def classifier(self, plane: ir.Value, size: Size) -> ir.Value:
        """The mean over all tokens of the last stage, and a linear layer."""
        scope, width = f"{names.CLASSIFIER}.pooling", self._structure.widths[-1]
        tokens = self._reshape(scope, plane, [size[0] * size[1], width])
        axes = self._constant(scope, [1], "axes", np.int64)
        batch = dims(tokens)[0]
        mean = self._op(scope, "ReduceMean", [tokens, axes], [batch, width], noop_with_empty_axes=0, keepdims=0)
        weight, bias = self._parameters(names.CLASSIFIER)
        shape = [batch, int(dims(weight)[0])]
        gemm = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
        return self._op(names.CLASSIFIER, "Gemm", [mean, weight, bias], shape, **gemm)

    def _embedding(self, planes: ir.Value, i: int, size: Size) -> ir.Value:
        scope, patch = names.embedding(i), self._structure.patches[i]
        planes = self._convolution(
            f"{scope}.proj", planes, size=size, stride=self._structure.strides[i], padding=patch // 2
        )
        return self._layer_norm(f"{scope}.layer_norm", self._flattened(scope, planes), "embedding")

    def _block(self, tokens: ir.Value, i: int, j: int, size: Size) -> ir.Value:
        scope = names.block(i, j)
        normed = self._layer_norm(f"{scope}.{names.NORM_BEFORE}", tokens, "block")
        tokens = self._op(scope, "Add", [self._attention(normed, i, j, size), tokens], dims(tokens))
        normed = self._layer_norm(f"{scope}.{names.NORM_AFTER}", tokens, "block")
        return self._op(scope, "Add", [self._feed_forward(normed, i, j, size), tokens], dims(tokens))

    def _attention(self, tokens: ir.Value, i: int, j: int, size: Size) -> ir.Value:
        block = names.block(i, j)
        scope = f"{block}.attention"
        heads, width = self._structure.heads[i], self._structure.widths[i]
        each = width // heads
        count = size[0] * size[1]
        queries = self._reshape(scope, self._linear(f"{block}.{names.QUERY}", tokens), [count, heads, each], free=1)
        queries = self._transpose(scope, queries, (0, 2, 1, 3))
        if self._structure.reductions[i] > 1:
            tokens, size = self._reduced(block, tokens, i, size)
        shorter = size[0] * size[1]
        keys = self._reshape(scope, self._linear(f"{block}.{names.KEY}", tokens), [shorter, heads, each], free=1)
        values = self._reshape(scope, self._linear(f"{block}.{names.VALUE}", tokens), [shorter, heads, each], free=1)
        values = self._transpose(scope, values, (0, 2, 1, 3))
        keys = self._transpose(scope, keys, (0, 2, 3, 1))
        batch = dims(queries)[0]
        scores = [batch, heads, count, shorter]
        found = self._op(scope, "MatMul", [queries, keys], scores)
        found = self._op(scope, "Mul", [found, self._scalar(each**-0.5, "scale")], scores)
        found = self._op(scope, "Softmax", [found], scores, axis=-1)
        found = self._op(scope, "MatMul", [found, values], [batch, heads, count, each])
        found = self._transpose(scope, found, (0, 2, 1, 3))
        return self._linear(f"{block}.{names.OUTPUT}", self._reshape(scope, found, [count, width], free=1))

    def _reduced(self, block: str, tokens: ir.Value, i: int, size: Size) -> tuple[ir.Value, Size]:
        """Keys' and values' tokens, fewer of them: a convolution whose stride is its kernel."""
        side, width = self._structure.reductions[i], self._structure.widths[i]
        size_after = (size[0] - side) // side + 1, (size[1] - side) // side + 1
        scope = f"{block}.attention.sequence_reduction"
        planes = self._planes(scope, tokens, size)
        planes = self._convolution(f"{block}.{names.REDUCTION}", planes, size=size_after, stride=side)
        # torch.export leaves transformers' -1 here where there is one image, and only there.
        count = size_after[0] * size_after[1]
        tokens = self._reshape(scope, planes, [width, count], free=1 if self._batch == 1 else None)
        tokens = self._transpose(scope, tokens, (0, 2, 1))
        return self._layer_norm(f"{block}.{names.REDUCTION_NORM}", tokens, "reduction"), size_after

    def _feed_forward(self, tokens: ir.Value, i: int, j: int, size: Size) -> ir.Value:
        block = names.block(i, j)
        scope = f"{block}.mlp"
        tokens = self._linear(f"{block}.{names.WIDEN}", tokens)
        planes = self._planes(f"{scope}.dwconv", tokens, size)
        planes = self._convolution(f"{block}.{names.DEPTHWISE}", planes, padding=1, group=self._structure.hidden(i))
        tokens = self._flattened(f"{scope}.dwconv", planes)
        return self._linear(f"{block}.{names.NARROW}", self._activation(f"{scope}.activation_fn", tokens))

    def _activation(self, scope: str, value: ir.Value) -> ir.Value:
        """x / 2 (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel 2016, arXiv:1606.08415), or max(x, 0)."""
        shape = dims(value)
        if self._structure.activation == "relu":
            return self._op(scope, "Relu", [value], shape)
        found = self._op(scope, "Div", [value, self._scalar(math.sqrt(2), "sqrt2")], shape)
        found = self._op(scope, "Erf", [found], shape)
        found = self._op(scope, "Add", [found, self._scalar(1.0, "one")], shape)
        found = self._op(scope, "Mul", [self._scalar(0.5, "half"), found], shape)
        return self._op(scope, "Mul", [value, found], shape)

    def _fuse(self, planes: ir.Value) -> ir.Value:
        """The fusing convolution with BatchNorm folded into it, in float32 as onnxscript's optimiser does it."""
        gamma, beta, mean, variance = (
            self._tensor(f"{names.BATCH_NORM}.{kind}") for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        weight = self._tensor(f"{names.FUSE}.weight") * scale[:, None, None, None]
        kernel = self._constant(names.FUSE, weight, "weight", np.float32)
        bias = self._constant(names.FUSE, -mean * scale + beta, "bias", np.float32)
        return self._convolve(names.BATCH_NORM, planes, kernel, bias)

    def _linear(self, scope: str, tokens: ir.Value) -> ir.Value:
        weight = self._tensor(f"{scope}.weight")
        shape = [*dims(tokens)[:-1], len(weight)]
        product = self._op(scope, "MatMul", [tokens, self._constant(scope, weight.T, "weight", np.float32)], shape)
        bias = self._constant(scope, self._tensor(f"{scope}.bias"), "bias", np.float32)
        return self._op(scope, "Add", [product, bias], shape)

    def _layer_norm(self, scope: str, tokens: ir.Value, place: Place) -> ir.Value:
        epsilon = self._structure.epsilon(place)
        inputs = [tokens, *self._parameters(scope)]
        return self._op(scope, "LayerNormalization", inputs, dims(tokens), axis=-1, epsilon=epsilon, stash_type=1)

    def _convolution(
        self,
        scope: str,
        planes: ir.Value,
        *,
        size: Size | None = None,
        stride: int = 1,
        padding: int = 0,
        group: int = 1,
    ) -> ir.Value:
        weight, bias = self._parameters(scope)
        return self._convolve(scope, planes, weight, bias, size=size, stride=stride, padding=padding, group=group)

    def _convolve(
        self,
        scope: str,
        planes: ir.Value,
        weight: ir.Value,
        bias: ir.Value,
        *,
        size: Size | None = None,
        stride: int = 1,
        padding: int = 0,
        group: int = 1,
    ) -> ir.Value:
        """`size` is that of the result; the planes' own if None."""
        channels, _, *kernel = dims(weight)
        shape = [dims(planes)[0], channels, *(size or dims(planes)[2:])]
        return self._op(
            scope,
            "Conv",
            [planes, weight, bias],
            shape,
            group=group,
            pads=[padding] * 4,
            auto_pad="NOTSET",
            strides=[stride] * 2,
            dilations=[1, 1],
            kernel_shape=[int(side) for side in kernel],
        )

    def _resized(self, scope: str, planes: ir.Value, size: Size) -> ir.Value:
        """Bilinear, sampling at pixel centres; for the first stage too, which has the size already."""
        batch, channels, _, _ = dims(planes)
        if self._batch == DYNAMIC:
            kept = self._writer(scope).op("Shape", [planes], dtype=ir.DataType.INT64, shape=[2], start=0, end=2)
            target = self._shape(size)
            sizes = self._writer(scope).op("Concat", [kept, target], dtype=ir.DataType.INT64, shape=[4], axis=0)
        else:
            sizes = self._shape([batch, channels, *size])
        return self._op(
            scope,
            "Resize",
            [planes, None, None, sizes],
            [batch, channels, *size],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
            # What follows is ONNX's default, which the exporter writes out.
            keep_aspect_ratio_policy="stretch",
            antialias=0,
            extrapolation_value=0.0,
            exclude_outside=0,
            nearest_mode="floor",
            cubic_coeff_a=-0.75,
        )

    def _flattened(self, scope: str, planes: ir.Value) -> ir.Value:
        """Planes as tokens."""
        _, channels, height, width = dims(planes)
        flat = self._reshape(scope, planes, [int(channels), int(height) * int(width)])
        return self._transpose(scope, flat, (0, 2, 1))

    def _planes(self, scope: str, tokens: ir.Value, size: Size) -> ir.Value:
        """Tokens as planes."""
        turned = self._transpose(scope, tokens, (0, 2, 1))
        return self._reshape(scope, turned, [int(dims(turned)[1]), *size])

    def _transpose(self, scope: str, value: ir.Value, order: Sequence[int]) -> ir.Value:
        shape = dims(value)
        return self._op(scope, "Transpose", [value], [shape[axis] for axis in order], perm=order)

    def _reshape(self, scope: str, value: ir.Value, shape: Sequence[int], free: int | None = None) -> ir.Value:
        """To `shape` behind the batch. One entry may be -1: an open batch, or else the one that transformers leaves."""
        target = list(shape)
        if self._batch != DYNAMIC and free is not None:
            target[free] = -1
        return self._op(
            scope,
            "Reshape",
            [value, self._shape([-1 if self._batch == DYNAMIC else self._batch, *target])],
            [dims(value)[0], *shape],
        )

    def _parameters(self, scope: str) -> tuple[ir.Value, ir.Value]:
        weight, bias = (self._tensor(f"{scope}.{kind}") for kind in ("weight", "bias"))
        return self._constant(scope, weight, "weight", np.float32), self._constant(scope, bias, "bias", np.float32)

    def _tensor(self, name: str) -> npt.NDArray[np.float32]:
        return self._tensors[names.disk_name(name)]

    def _shape(self, sizes: Sequence[int | str]) -> ir.Value:
        """Whole numbers that a Reshape or a Resize reads; equal ones are one constant."""
        key = ("shape", *sizes)
        if key not in self._shared:
            self._shared[key] = self._constant("shape", list(sizes), "x".join(map(str, sizes)), np.int64)
        return self._shared[key]

    def _scalar(self, number: float, name: str) -> ir.Value:
        key = (name, number)
        if key not in self._shared:
            self._shared[key] = self._constant("number", number, name, np.float32)
        return self._shared[key]

    def _constant(self, scope: str, array: npt.ArrayLike, name: str, dtype: type[np.generic]) -> ir.Value:
        return self._writer(scope).constant(array, name, dtype)

    def _op(
        self,
        scope: str,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[int | str],
        **attributes: Any,
    ) -> ir.Value:
        return self._writer(scope).op(op_type, inputs, shape=shape, **attributes)

    def _writer(self, scope: str) -> Writer:
        if scope not in self._writers:
            self._writers[scope] = Writer(self._graph, scope)
        return self._writers[scope]
