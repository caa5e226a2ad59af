"""What a SegFormer is, read off the shapes of its tensors; and transformers' configuration for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segexport.data import read_json
from segexport.errors import CheckpointError

Style = Literal["nvlabs", "mmsegmentation"]
Head = Literal["segmentation", "classification"]
STAGES = 4

_BLOCK = {"nvlabs": r"backbone\.block(\d+)\.(\d+)\.", "mmsegmentation": r"backbone\.layers\.(\d+)\.1\.(\d+)\."}
_FIRST = {"nvlabs": 1, "mmsegmentation": 0}
_NAMES = {
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


@dataclass(frozen=True)
class Structure:
    """Depths, widths and so on, by stage. `decoder` and `classes` are None where there is no such head."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]
    reductions: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    patches: tuple[int, ...]
    head: Head | None = None
    decoder: int | None = None
    classes: int | None = None

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """transformers' `config.json` for it, with the names of its classes.

        Strides (4, 2, 2, 2) are in no tensor: they are the paper's (arXiv:2105.15203, section 3.1).
        """
        kind = "ForSemanticSegmentation" if self.head == "segmentation" else "ForImageClassification"
        return {
            **read_json("aliases.json")["common"],
            "architectures": [f"Segformer{kind}" if self.head else "SegformerModel"],
            "depths": list(self.depths),
            "hidden_sizes": list(self.widths),
            "num_attention_heads": list(self.heads),
            "sr_ratios": list(self.reductions),
            "mlp_ratios": list(self.mlp_ratios),
            "patch_sizes": list(self.patches),
            "strides": [4, 2, 2, 2],
            **({"decoder_hidden_size": self.decoder} if self.decoder else {}),
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
        }

    @classmethod
    def of_config(cls, config: Mapping[str, Any], head: Head | None, classes: int | None) -> Structure:
        """The structure that a transformers configuration describes."""
        return cls(
            depths=tuple(config["depths"]),
            widths=tuple(config["hidden_sizes"]),
            heads=tuple(config["num_attention_heads"]),
            reductions=tuple(config["sr_ratios"]),
            mlp_ratios=tuple(config["mlp_ratios"]),
            patches=tuple(config.get("patch_sizes", (7, 3, 3, 3))),
            head=head,
            decoder=config["decoder_hidden_size"] if head == "segmentation" else None,
            classes=classes,
        )


def style_of(names: Sequence[str]) -> Style | None:
    """Whose names they are, with `backbone.` in front of the encoder's."""
    for style in ("nvlabs", "mmsegmentation"):
        first = (
            _NAMES[style]["embedding"].format(i=0, n=1).removesuffix("proj.weight").removesuffix("projection.weight")
        )
        if any(name.startswith(first) for name in names):
            return style
    return None


def infer(shapes: Mapping[str, Sequence[int]], style: Style, file: str) -> Structure:
    """The structure behind tensors of these shapes, under names with `backbone.`.

    Attention heads are in no shape: a stage has as many as it is wider than the first, which is how mmsegmentation
    defines widths (`embed_dims * num_heads[i]`) and gives 1, 2, 5, 8 for B0 to B5.

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
    if embeddings[0][1] != 3:
        raise CheckpointError(f"{file} takes {embeddings[0][1]} channels: segexport serves RGB images only")
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
        head=head,
        decoder=decoder,
        classes=classes,
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
