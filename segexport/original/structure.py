"""What a SegFormer is, read off the shapes of its tensors under the names of one of the two repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from segexport.errors import CheckpointError
from segexport.segformer import Head, Structure, Style

STAGES = 4
"""Of every network in either repository, whose names count them one by one."""

_BLOCK = {"nvlabs": r"backbone\.block(\d+)\.(\d+)\.", "mmsegmentation": r"backbone\.layers\.(\d+)\.1\.(\d+)\."}
_FIRST = {"nvlabs": 1, "mmsegmentation": 0}
_NAMES: dict[Style, dict[str, str]] = {
    "nvlabs": {
        "embedding": "backbone.patch_embed{n}.proj.weight",
        "reduction": "backbone.block{n}.0.attn.sr.weight",
        "hidden": "backbone.block{n}.0.mlp.fc1.weight",
        "fuse": "decode_head.linear_fuse.conv.weight",
        "last": "decode_head.linear_pred.weight",
    },
    "mmsegmentation": {
        "embedding": "backbone.layers.{i}.0.projection.weight",
        "reduction": "backbone.layers.{i}.1.0.attn.sr.weight",
        "hidden": "backbone.layers.{i}.1.0.ffn.layers.0.weight",
        "fuse": "decode_head.fusion_conv.conv.weight",
        "last": "decode_head.conv_seg.weight",
    },
}


def style_of(names: Sequence[str]) -> Style | None:
    """Whose names they are, with `backbone.` in front of the encoder's."""
    for style in _NAMES:
        first = (
            _NAMES[style]["embedding"].format(i=0, n=1).removesuffix("proj.weight").removesuffix("projection.weight")
        )
        if any(name.startswith(first) for name in names):
            return style
    return None


def infer(shapes: Mapping[str, Sequence[int]], style: Style, file: str) -> Structure:
    """The structure behind tensors of these shapes, under names with `backbone.`.

    Attention heads are in no shape: a stage has as many as it is wider than the first, which is how mmsegmentation
    defines widths (`embed_dims * num_heads[i]`) and gives 1, 2, 5, 8 for B0 to B5. Strides (4, 2, 2, 2) are in no
    tensor either: they are the paper's (arXiv:2105.15203, section 3.1).

    Raises:
        CheckpointError: a tensor that tells is missing or of an impossible shape.
    """
    names = _NAMES[style]

    def shape(kind: str, stage: int, rank: int) -> Sequence[int]:
        name = names[kind].format(i=stage, n=stage + 1)
        if name not in shapes:
            raise CheckpointError(f"{file} lacks {name}: copy or download the checkpoint again")
        if len(shapes[name]) not in (rank, 4):
            raise CheckpointError(f"{file}: {name} has shape {list(shapes[name])}, which is no SegFormer's")
        return shapes[name]

    embeddings = [shape("embedding", stage, 4) for stage in range(STAGES)]
    widths = tuple(int(kernel[0]) for kernel in embeddings)
    if any(width % widths[0] for width in widths):
        raise CheckpointError(
            f"{file} has widths {widths}, from which its attention heads cannot be told: convert it to a folder of "
            "transformers, whose config.json says them"
        )
    reductions = [names["reduction"].format(i=stage, n=stage + 1) for stage in range(STAGES)]
    ratios = [shape("hidden", stage, 2)[0] / widths[stage] for stage in range(STAGES)]
    head, decoder, classes = _head(shapes, names)
    return Structure(
        depths=_depths(shapes, style),
        widths=widths,
        heads=tuple(width // widths[0] for width in widths),
        reductions=tuple(int(shapes[name][-1]) if name in shapes else 1 for name in reductions),
        mlp_ratios=tuple(int(ratio) if ratio == int(ratio) else ratio for ratio in ratios),
        patches=tuple(int(kernel[-1]) for kernel in embeddings),
        channels=int(embeddings[0][1]),
        head=head,
        decoder=decoder,
        classes=classes,
        style=style,
    )


def _depths(shapes: Mapping[str, Sequence[int]], style: Style) -> tuple[int, ...]:
    depths = [0] * STAGES
    for name in shapes:
        found = re.match(_BLOCK[style], name)
        stage = int(found[1]) - _FIRST[style] if found else -1
        if found and 0 <= stage < STAGES:
            depths[stage] = max(depths[stage], int(found[2]) + 1)
    return tuple(depths)


def _head(shapes: Mapping[str, Sequence[int]], names: Mapping[str, str]) -> tuple[Head | None, int | None, int | None]:
    if names["last"] in shapes and names["fuse"] in shapes:
        return "segmentation", int(shapes[names["fuse"]][0]), int(shapes[names["last"]][0])
    if "head.weight" in shapes:
        return "classification", None, int(shapes["head.weight"][0])
    return None, None, None
