"""Fold SegFormer's all-MLP decode head into one 1x1 convolution per stage, before the upsampling.

Source: the head is Xie et al. 2021 (arXiv:2105.15203), section 3.2. Bilinear resize acts on space alone, 1x1
convolutions on channels alone, and resize weights sum to one, so the two commute. With the fusing convolution F
split in channel blocks F_i, one for each stage's linear layer (L_i, b_i):

    F · cat_i up_i(L_i x_i + b_i) + c  =  Σ_i up_i((F_i L_i) x_i)  +  [c + Σ_i F_i b_i]

A BatchNorm behind F (which the exporter usually has merged into F and c already) scales rows the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from segexport.graph.build import Writer, dims
from segexport.graph.graph import Graph
from segexport.passes.base import Decline
from segexport.passes.match import Float64, attribute, constant, produced_by, require
from segexport.segformer import names
from segexport.spec import Claim, Declined, PassResult, Size


@dataclass(frozen=True)
class _Stage:
    features: ir.Value  # [N, C, h, w]
    weight: Float64  # [D, C]: the stage's linear layer
    bias: Float64  # [D]


@dataclass(frozen=True)
class _Head:
    stages: tuple[_Stage, ...]
    fuse: Float64  # [O, stages * D]
    bias: Float64  # [O]
    size: Size
    replaced: ir.Value  # the fusing layer's output, after BatchNorm where there is one
    before: ir.Node


class FoldDecodeHead:
    """Before and after, for stages i = 0..3 (the head concatenates them in reverse):

    x_i -> Reshape -> Transpose -> MatMul L_i -> Add b_i -> Transpose -> Reshape -> Resize ┐
    ...                                                                                    ├ Concat -> Conv F -> Relu
    x_i -> Conv (F_i L_i) -> Resize ┐
    ...                             ├ Add -> Relu
    """

    name = "fold-decode-head"
    claim: Claim = "algebraic"

    def __call__(self, graph: Graph) -> PassResult:
        """Rewrite every decode head of `graph` in place (a SegFormer has one)."""
        rewritten, declined = [], []
        for node in list(graph.model.graph):
            if node.op_type != "Concat" or len(node.inputs) < 2 or attribute(node, "axis", 0) != 1:
                continue
            if (shape := node.outputs[0].shape) is not None and len(shape) != 4:
                continue  # no feature maps: rows of an image that the graph resizes
            try:
                head = _match(node)
            except Decline as reason:
                declined.append(Declined(node.name or "Concat", str(reason)))
                continue
            _write(graph.model.graph, head)
            rewritten.append(node.name or "Concat")
        return PassResult(self.name, self.claim, tuple(rewritten), tuple(declined))


def _match(concat: ir.Node) -> _Head:
    readers = [use.node for use in concat.outputs[0].uses()]
    require(len(readers) == 1 and readers[0].op_type == "Conv", "the concatenation does not feed one convolution")
    conv = readers[0]
    require(attribute(conv, "group", 1) == 1, "the fusing convolution is grouped")
    kernel = constant(conv.inputs[1], "the fusing convolution's weight")
    require(kernel.shape[2:] == (1, 1), "the fusing convolution is not 1x1")
    require(set(_ints(attribute(conv, "strides", (1, 1)))) == {1}, "the fusing convolution has a stride")
    require(set(_ints(attribute(conv, "pads", (0, 0, 0, 0)))) == {0}, "the fusing convolution pads")
    fuse = kernel[:, :, 0, 0]
    has_bias = len(conv.inputs) > 2 and conv.inputs[2] is not None
    bias = constant(conv.inputs[2], "the fusing convolution's bias") if has_bias else np.zeros(len(fuse))
    stages = tuple(_match_stage(value) for value in concat.inputs)
    require(
        sum(len(s.weight) for s in stages) == fuse.shape[1],
        "the linear layers do not fill the convolution's channels",
    )
    fuse, bias, last = _through_batch_norm(conv, fuse, bias)
    _, _, height, width = dims(concat.outputs[0])
    require(isinstance(height, int) and isinstance(width, int), "the height and width are not fixed")
    return _Head(stages, fuse, bias, (int(height), int(width)), last.outputs[0], last)


def _match_stage(value: ir.Value | None) -> _Stage:
    """Follow one input of the concatenation up to the stage's features."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Resize":
        node = produced_by(value, "Resize")
        require(attribute(node, "mode", "nearest") == "linear", "an upsampling is not bilinear")
        transform = attribute(node, "coordinate_transformation_mode", "half_pixel")
        require(transform in ("half_pixel", "pytorch_half_pixel"), f"an upsampling samples at {transform}")
        require(attribute(node, "antialias", 0) == 0, "an upsampling is antialiased")
        # In the plain graph the size is computed from the same value's shape when the batch is open.
        value = node.inputs[0]
    to_plane = value.producer() if value is not None else None
    require(to_plane is not None and to_plane.op_type == "Reshape", "a stage is not reshaped to a plane")
    assert to_plane is not None
    to_channels_first = produced_by(to_plane.inputs[0], "Transpose")
    add = produced_by(to_channels_first.inputs[0], "Add")
    product, offset = (0, 1) if _is(add.inputs[0], "MatMul") else (1, 0)
    linear = produced_by(add.inputs[product], "MatMul")
    to_tokens = produced_by(linear.inputs[0], "Transpose")
    flatten = produced_by(to_tokens.inputs[0], "Reshape")
    for transpose in (to_tokens, to_channels_first):
        require(attribute(transpose, "perm", None) == (0, 2, 1), "a transpose does not swap tokens and channels")
    features = flatten.inputs[0]
    require(
        features is not None and features.shape is not None and len(features.shape) == 4,
        "features are no planes",
    )
    assert features is not None
    require(dims(features)[2:] == dims(to_plane.outputs[0])[2:], "the linear layer changes the plane")
    weight = constant(linear.inputs[1], "a linear layer's weight").T
    bias = constant(add.inputs[offset], "a linear layer's bias")
    return _Stage(features, weight, np.broadcast_to(bias, len(weight)))


def _through_batch_norm(conv: ir.Node, fuse: Float64, bias: Float64) -> tuple[Float64, Float64, ir.Node]:
    readers = [use.node for use in conv.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "BatchNormalization":
        return fuse, bias, conv
    norm = readers[0]
    gamma, beta, mean, variance = (constant(v, "a BatchNorm parameter") for v in norm.inputs[1:5])
    epsilon = attribute(norm, "epsilon", 1e-5)
    assert isinstance(epsilon, float)
    scale = gamma / np.sqrt(variance + epsilon)
    return fuse * scale[:, None], beta + (bias - mean) * scale, norm


def _write(graph: ir.Graph, head: _Head) -> None:
    writer = Writer(graph, names.FOLDED, before=head.before)
    blocks = np.split(head.fuse, np.cumsum([len(s.weight) for s in head.stages])[:-1], axis=1)
    bias = head.bias + sum(block @ stage.bias for block, stage in zip(blocks, head.stages, strict=True))
    batch, channels = dims(head.replaced)[0], len(bias)
    total: ir.Value | None = None
    for index, (block, stage) in enumerate(zip(blocks, head.stages, strict=True)):
        # The concatenation starts with the last stage. A layer is known by its scope, so each has one of its own.
        layer = Writer(graph, f"{names.FOLDED}.{len(blocks) - 1 - index}", before=head.before)
        kernel = layer.constant((block @ stage.weight)[:, :, None, None], "weight", np.float32)
        inputs = [stage.features, kernel]
        if index == 0:  # it has the smallest plane: there the bias costs least
            inputs.append(layer.constant(bias, "bias", np.float32))
        shape = [batch, channels, *dims(stage.features)[2:]]
        value = layer.op("Conv", inputs, shape=shape, kernel_shape=[1, 1])
        if dims(value)[2:] != list(head.size):
            value = writer.resize_bilinear(value, head.size)
        total = value if total is None else writer.op("Add", [total, value], shape=dims(value))
    assert total is not None
    head.replaced.replace_all_uses_with(total)


def _is(value: ir.Value | None, op_type: str) -> bool:
    node = value.producer() if value is not None else None
    return node is not None and node.op_type == op_type


def _ints(value: object) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return value
