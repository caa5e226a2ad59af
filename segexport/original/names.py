"""The tables of names: every tensor of a `.pth` checkpoint, and the tensors of transformers' it becomes.

Sources: `convert_segformer_original_to_pytorch.py` of transformers (`rename_keys`, `read_in_k_v`) for the authors'
names (`mmseg/models/backbones/mix_transformer.py` and `decode_heads/segformer_head.py` of NVlabs/SegFormer), and
`mmseg/models/backbones/mit.py` and `decode_heads/segformer_head.py` of open-mmlab/mmsegmentation, 0.x and 1.x alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from segexport.original.structure import STAGES
from segexport.segformer import Structure, Style

Form = Literal["same", "rows", "pointwise", "stages"]
"""How a tensor relates to ours: equal; several of ours one below the other; a 1x1 convolution for a linear layer; or
the fusing convolution with the stages' blocks of input channels in the opposite order."""

STAGE_NORM = "decode_head.stage_norm.{i}."
"""mmsegmentation's BatchNorm behind a stage's layer, which transformers has not: see `function`."""

_AFFINE = ("weight", "bias")
_NORM = (*_AFFINE, "running_mean", "running_var", "num_batches_tracked")
_ENCODER = "segformer.encoder."


@dataclass(frozen=True)
class Entry:
    """One tensor of the original's, and ours."""

    original: str
    ours: tuple[str, ...]
    form: Form = "same"

    @property
    def optional(self) -> bool:
        """Whether a checkpoint is whole without it: PyTorch before 0.4.1 did not count batches."""
        return self.original.endswith("num_batches_tracked")


def left_out(name: str, style: Style) -> str | None:
    """Why a tensor that is in no table is rightly not loaded; None if there is no reason."""
    if style == "nvlabs" and name.startswith("decode_head.conv_seg."):
        return "a layer that the authors' head inherits and never calls"
    if name.startswith("auxiliary_head."):
        return "a head that is used in training only"
    return None


def table(structure: Structure, style: Style) -> tuple[Entry, ...]:
    """Every tensor of a checkpoint with this structure, `backbone.` in front of the encoder's."""
    rows = _nvlabs if style == "nvlabs" else _mmsegmentation
    return tuple(rows(structure))


def _layer(original: str, ours: str, form: Form = "same") -> Iterator[Entry]:
    """Weight and bias; a pointwise layer's bias is the same."""
    yield Entry(f"{original}.weight", (f"{ours}.weight",), form)
    yield Entry(f"{original}.bias", (f"{ours}.bias",))


def _batch_norm(original: str, ours: str) -> Iterator[Entry]:
    for kind in _NORM:
        yield Entry(f"{original}.{kind}", (f"{ours}.{kind}",))


def _parts(original: str, ours: str, parts: tuple[str, ...], joint: str = ".") -> Iterator[Entry]:
    for kind in _AFFINE:
        yield Entry(f"{original}{joint}{kind}", tuple(f"{ours}.{part}.{kind}" for part in parts), "rows")


def _nvlabs(structure: Structure) -> Iterator[Entry]:
    for i, n in enumerate(range(1, STAGES + 1)):
        yield from _layer(f"backbone.patch_embed{n}.proj", f"{_ENCODER}patch_embeddings.{i}.proj")
        yield from _layer(f"backbone.patch_embed{n}.norm", f"{_ENCODER}patch_embeddings.{i}.layer_norm")
        for j in range(structure.depths[i]):
            block, ours = f"backbone.block{n}.{j}", f"{_ENCODER}block.{i}.{j}"
            yield from _layer(f"{block}.norm1", f"{ours}.layer_norm_1")
            yield from _layer(f"{block}.attn.q", f"{ours}.attention.self.query")
            yield from _parts(f"{block}.attn.kv", f"{ours}.attention.self", ("key", "value"))
            yield from _layer(f"{block}.attn.proj", f"{ours}.attention.output.dense")
            if structure.reductions[i] > 1:
                yield from _layer(f"{block}.attn.sr", f"{ours}.attention.self.sr")
                yield from _layer(f"{block}.attn.norm", f"{ours}.attention.self.layer_norm")
            yield from _layer(f"{block}.norm2", f"{ours}.layer_norm_2")
            yield from _layer(f"{block}.mlp.fc1", f"{ours}.mlp.dense1")
            yield from _layer(f"{block}.mlp.dwconv.dwconv", f"{ours}.mlp.dwconv.dwconv")
            yield from _layer(f"{block}.mlp.fc2", f"{ours}.mlp.dense2")
        yield from _layer(f"backbone.norm{n}", f"{_ENCODER}layer_norm.{i}")
        if structure.head == "segmentation":
            yield from _layer(f"decode_head.linear_c{n}.proj", f"decode_head.linear_c.{i}.proj")
    if structure.head == "segmentation":
        yield Entry("decode_head.linear_fuse.conv.weight", ("decode_head.linear_fuse.weight",))
        yield from _batch_norm("decode_head.linear_fuse.bn", "decode_head.batch_norm")
        yield from _layer("decode_head.linear_pred", "decode_head.classifier")
    if structure.head == "classification":
        yield from _layer("head", "classifier")


def _mmsegmentation(structure: Structure) -> Iterator[Entry]:
    for i in range(STAGES):
        stage = f"backbone.layers.{i}"
        yield from _layer(f"{stage}.0.projection", f"{_ENCODER}patch_embeddings.{i}.proj")
        yield from _layer(f"{stage}.0.norm", f"{_ENCODER}patch_embeddings.{i}.layer_norm")
        for j in range(structure.depths[i]):
            block, ours = f"{stage}.1.{j}", f"{_ENCODER}block.{i}.{j}"
            yield from _layer(f"{block}.norm1", f"{ours}.layer_norm_1")
            yield from _parts(
                f"{block}.attn.attn.in_proj", f"{ours}.attention.self", ("query", "key", "value"), joint="_"
            )
            yield from _layer(f"{block}.attn.attn.out_proj", f"{ours}.attention.output.dense")
            if structure.reductions[i] > 1:
                yield from _layer(f"{block}.attn.sr", f"{ours}.attention.self.sr")
                yield from _layer(f"{block}.attn.norm", f"{ours}.attention.self.layer_norm")
            yield from _layer(f"{block}.norm2", f"{ours}.layer_norm_2")
            yield from _layer(f"{block}.ffn.layers.0", f"{ours}.mlp.dense1", "pointwise")
            yield from _layer(f"{block}.ffn.layers.1", f"{ours}.mlp.dwconv.dwconv")
            yield from _layer(f"{block}.ffn.layers.4", f"{ours}.mlp.dense2", "pointwise")
        yield from _layer(f"{stage}.2", f"{_ENCODER}layer_norm.{i}")
        if structure.head == "segmentation":
            conv = f"decode_head.convs.{i}"
            yield Entry(f"{conv}.conv.weight", (f"decode_head.linear_c.{i}.proj.weight",), "pointwise")
            yield from _batch_norm(f"{conv}.bn", STAGE_NORM.format(i=i).removesuffix("."))
    if structure.head == "segmentation":
        yield Entry("decode_head.fusion_conv.conv.weight", ("decode_head.linear_fuse.weight",), "stages")
        yield from _batch_norm("decode_head.fusion_conv.bn", "decode_head.batch_norm")
        yield from _layer("decode_head.conv_seg", "decode_head.classifier")
    if structure.head == "classification":
        yield from _layer("head", "classifier")
