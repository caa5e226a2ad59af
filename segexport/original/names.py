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
from segexport.segformer import Structure, Style, names
from segexport.segformer.names import disk_name

Form = Literal["same", "rows", "pointwise", "stages"]
"""How a tensor relates to ours: equal; several of ours one below the other; a 1x1 convolution for a linear layer; or
the fusing convolution with the stages' blocks of input channels in the opposite order."""

STAGE_NORM = "decode_head.stage_norm.{i}."
"""mmsegmentation's BatchNorm behind a stage's layer, which transformers has not: see `function`."""

_AFFINE = ("weight", "bias")
_NORM = (*_AFFINE, "running_mean", "running_var", "num_batches_tracked")


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
    yield Entry(f"{original}.weight", (disk_name(f"{ours}.weight"),), form)
    yield Entry(f"{original}.bias", (disk_name(f"{ours}.bias"),))


def _batch_norm(original: str, ours: str) -> Iterator[Entry]:
    for kind in _NORM:
        yield Entry(f"{original}.{kind}", (f"{ours}.{kind}",))


def _parts(original: str, ours: str, parts: tuple[str, ...], joint: str = ".") -> Iterator[Entry]:
    for kind in _AFFINE:
        yield Entry(f"{original}{joint}{kind}", tuple(disk_name(f"{ours}.{part}.{kind}") for part in parts), "rows")


def _nvlabs(structure: Structure) -> Iterator[Entry]:
    for i, n in enumerate(range(1, STAGES + 1)):
        yield from _layer(f"backbone.patch_embed{n}.proj", f"{names.embedding(i)}.proj")
        yield from _layer(f"backbone.patch_embed{n}.norm", f"{names.embedding(i)}.layer_norm")
        for j in range(structure.depths[i]):
            block, ours = f"backbone.block{n}.{j}", names.block(i, j)
            yield from _layer(f"{block}.norm1", f"{ours}.{names.NORM_BEFORE}")
            yield from _layer(f"{block}.attn.q", f"{ours}.{names.QUERY}")
            yield from _parts(f"{block}.attn.kv", ours, (names.KEY, names.VALUE))
            yield from _layer(f"{block}.attn.proj", f"{ours}.{names.OUTPUT}")
            if structure.reductions[i] > 1:
                yield from _layer(f"{block}.attn.sr", f"{ours}.{names.REDUCTION}")
                yield from _layer(f"{block}.attn.norm", f"{ours}.{names.REDUCTION_NORM}")
            yield from _layer(f"{block}.norm2", f"{ours}.{names.NORM_AFTER}")
            yield from _layer(f"{block}.mlp.fc1", f"{ours}.{names.WIDEN}")
            yield from _layer(f"{block}.mlp.dwconv.dwconv", f"{ours}.{names.DEPTHWISE}")
            yield from _layer(f"{block}.mlp.fc2", f"{ours}.{names.NARROW}")
        yield from _layer(f"backbone.norm{n}", f"{names.stage(i)}.layer_norm")
        if structure.head == "segmentation":
            yield from _layer(f"decode_head.linear_c{n}.proj", f"{names.projection(i)}.proj")
    if structure.head == "segmentation":
        yield Entry("decode_head.linear_fuse.conv.weight", (f"{names.FUSE}.weight",))
        yield from _batch_norm("decode_head.linear_fuse.bn", names.BATCH_NORM)
        yield from _layer("decode_head.linear_pred", names.SEGMENTER)
    if structure.head == "classification":
        yield from _layer("head", names.CLASSIFIER)


def _mmsegmentation(structure: Structure) -> Iterator[Entry]:
    for i in range(STAGES):
        stage = f"backbone.layers.{i}"
        yield from _layer(f"{stage}.0.projection", f"{names.embedding(i)}.proj")
        yield from _layer(f"{stage}.0.norm", f"{names.embedding(i)}.layer_norm")
        for j in range(structure.depths[i]):
            block, ours = f"{stage}.1.{j}", names.block(i, j)
            yield from _layer(f"{block}.norm1", f"{ours}.{names.NORM_BEFORE}")
            yield from _parts(f"{block}.attn.attn.in_proj", ours, (names.QUERY, names.KEY, names.VALUE), joint="_")
            yield from _layer(f"{block}.attn.attn.out_proj", f"{ours}.{names.OUTPUT}")
            if structure.reductions[i] > 1:
                yield from _layer(f"{block}.attn.sr", f"{ours}.{names.REDUCTION}")
                yield from _layer(f"{block}.attn.norm", f"{ours}.{names.REDUCTION_NORM}")
            yield from _layer(f"{block}.norm2", f"{ours}.{names.NORM_AFTER}")
            yield from _layer(f"{block}.ffn.layers.0", f"{ours}.{names.WIDEN}", "pointwise")
            yield from _layer(f"{block}.ffn.layers.1", f"{ours}.{names.DEPTHWISE}")
            yield from _layer(f"{block}.ffn.layers.4", f"{ours}.{names.NARROW}", "pointwise")
        yield from _layer(f"{stage}.2", f"{names.stage(i)}.layer_norm")
        if structure.head == "segmentation":
            conv = f"decode_head.convs.{i}"
            yield Entry(f"{conv}.conv.weight", (disk_name(f"{names.projection(i)}.proj.weight"),), "pointwise")
            yield from _batch_norm(f"{conv}.bn", STAGE_NORM.format(i=i).removesuffix("."))
    if structure.head == "segmentation":
        yield Entry("decode_head.fusion_conv.conv.weight", (f"{names.FUSE}.weight",), "stages")
        yield from _batch_norm("decode_head.fusion_conv.bn", names.BATCH_NORM)
        yield from _layer("decode_head.conv_seg", names.SEGMENTER)
    if structure.head == "classification":
        yield from _layer("head", names.CLASSIFIER)
