"""The names of a SegFormer's modules, in both of transformers' spellings.

Nodes of graphs, reports and tables of ranges speak version 5 (`segformer.stages.0.blocks.1.attention.q_proj`). Files on
disk speak version 4 (`segformer.encoder.block.0.1.attention.self.query.weight`), whichever version wrote them.
"""

from __future__ import annotations

import re

from segexport.segformer.structure import Head, Place
from segexport.spec import Architecture

ENCODER = "segformer"
DECODE_HEAD = "decode_head"
SEGMENTER = f"{DECODE_HEAD}.classifier"
"""The layer that makes the logits of classes for each pixel, ..."""
CLASSIFIER = "classifier"
"""... and the one that makes those of classes of images."""
LAST_LAYERS: dict[Head, str] = {"segmentation": SEGMENTER, "classification": CLASSIFIER}
FUSE = f"{DECODE_HEAD}.linear_fuse"
BATCH_NORM = f"{DECODE_HEAD}.batch_norm"
QUERY, KEY, VALUE, OUTPUT = (f"attention.{kind}_proj" for kind in "qkvo")
"""The layers of a block, below its name: attention's, ..."""
REDUCTION, REDUCTION_NORM = (f"attention.sequence_reduction.{kind}" for kind in ("sequence_reduction", "layer_norm"))
"""... what shortens its keys and values, ..."""
NORM_BEFORE, NORM_AFTER = "layernorm_before", "layernorm_after"
WIDEN, DEPTHWISE, NARROW = "mlp.fc1", "mlp.dwconv.dwconv", "mlp.fc2"
"""... and the feed-forward layers."""
FOLDED = f"{DECODE_HEAD}.folded"
"""What `passes.fold_decode_head` makes of the layers for the stages: our name, with a stage behind it."""

COUNTER = "num_batches_tracked"
"""A BatchNorm's count of training steps, which is no weight."""

CLASSES: dict[str, Architecture] = {
    "SegformerForSemanticSegmentation": "semantic-segmentation",
    "SegformerForImageClassification": "image-classification",
}
"""transformers' models that have a head, as `architectures` in config.json names them."""

_IN_MEMORY = (
    (r"^segformer\.stages\.(\d+)\.patch_embeddings\.", r"segformer.encoder.patch_embeddings.\1."),
    (r"^segformer\.stages\.(\d+)\.blocks\.", r"segformer.encoder.block.\1."),
    (r"^segformer\.stages\.(\d+)\.layer_norm\.", r"segformer.encoder.layer_norm.\1."),
    (r"\.attention\.q_proj\.", ".attention.self.query."),
    (r"\.attention\.k_proj\.", ".attention.self.key."),
    (r"\.attention\.v_proj\.", ".attention.self.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attention.self.sr."),
    (r"\.attention\.sequence_reduction\.layer_norm\.", ".attention.self.layer_norm."),
    (r"\.mlp\.fc1\.", ".mlp.dense1."),
    (r"\.mlp\.fc2\.", ".mlp.dense2."),
    (r"\.layernorm_before\.", ".layer_norm_1."),
    (r"\.layernorm_after\.", ".layer_norm_2."),
    (r"^decode_head\.linear_projections\.", "decode_head.linear_c."),
)
_RENAMINGS = tuple((re.compile(pattern), replacement) for pattern, replacement in _IN_MEMORY)
_STAGE = re.compile(r"(?:^|\.)(?:stages|encoder\.(?:patch_embeddings|block|layer_norm))\.(\d+)(?=\.|$)")
_EMBEDDING = re.compile(r"(?:.*\.)?(?:stages\.(\d+)\.patch_embeddings|encoder\.patch_embeddings\.(\d+))\.proj")
_PROJECTION = re.compile(r"decode_head\.(?:linear_c|linear_projections)\.(\d+)\.proj")
_FOLDED = re.compile(r"decode_head\.folded\.(\d+)")


def disk_name(name: str) -> str:
    """The name on disk of a tensor: what 4.57 calls it, and what 5.x writes, whatever it calls it in memory.

    Source: transformers 5, `conversion_mapping.py`, which renames the other way round on loading.
    """
    for pattern, replacement in _RENAMINGS:
        name = pattern.sub(replacement, name)
    return name


def stage(i: int) -> str:
    """A stage of the encoder, counted from 0."""
    return f"{ENCODER}.stages.{i}"


def embedding(i: int) -> str:
    """A stage's patch embedding."""
    return f"{stage(i)}.patch_embeddings"


def block(i: int, j: int) -> str:
    """A block of a stage."""
    return f"{stage(i)}.blocks.{j}"


def projection(i: int) -> str:
    """The decode head's layer for a stage."""
    return f"{DECODE_HEAD}.linear_projections.{i}"


def norm_place(scope: str) -> Place:
    """Where a LayerNorm stands, by its name in either spelling."""
    if "patch_embeddings" in scope:
        return "embedding"
    if "attention" in scope:
        return "reduction"
    return "block" if ".block" in scope else "stage"


def stage_in(scope: str) -> int | None:
    """The stage of the encoder that a module or tensor belongs to, counted from 0, in either spelling."""
    found = _STAGE.search(scope)
    return int(found[1]) if found else None


def stage_embedded(scope: str) -> int | None:
    """The stage whose patch embedding's convolution a scope is."""
    found = _EMBEDDING.fullmatch(scope)
    return int(found[1] or found[2]) if found else None


def stage_projected(scope: str) -> int | None:
    """The stage that a layer of the decode head is for."""
    found = _PROJECTION.fullmatch(scope)
    return int(found[1]) if found else None


def stage_folded(scope: str) -> int | None:
    """The stage that a folded layer of the decode head is for."""
    found = _FOLDED.fullmatch(scope)
    return int(found[1]) if found else None
