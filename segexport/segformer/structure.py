"""What a SegFormer is: its stages, its heads, its sizes, and whose arithmetic it was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segexport.data import read_json
from segexport.spec import Architecture, Grid, Size

Head = Literal["segmentation", "classification"]
Activation = Literal["gelu", "relu"]
Style = Literal["transformers", "nvlabs", "mmsegmentation"]
"""Whose modules the weights were trained in: Hugging Face's, the authors', or mmsegmentation's."""

Place = Literal["embedding", "block", "reduction", "stage"]
"""Where a LayerNorm stands: behind a patch embedding, before attention and before the feed-forward layers of a block,
behind the convolution that shortens keys and values, or behind a stage."""

HEADS: dict[Head, Architecture] = {
    "segmentation": "semantic-segmentation",
    "classification": "image-classification",
}
BATCH_NORM_EPSILON = 1e-5
"""PyTorch's and mmcv's default, which no SegFormer changes."""


@dataclass(frozen=True)
class Structure:
    """A SegFormer without its weights; tuples have an entry for each stage.

    Attributes:
        depths: blocks.
        widths: channels.
        heads: attention heads.
        reductions: by how much keys and values are shortened along a side; 1 leaves them as they are.
        mlp_ratios: width of the feed-forward layers, as a multiple of the stage's.
        patches: side of the patch embedding's kernel.
        strides: its stride; its padding is half the kernel, rounded down.
        channels: of the image.
        activation: of the feed-forward layers.
        head: what makes the logits; None is an encoder alone.
        decoder: width of the decode head; None where there is none.
        classes: of the head; None where there is none.
        style: whose epsilons the norms have, and whether a ReLU follows the decode head's layers for the stages.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[int, ...]
    reductions: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    patches: tuple[int, ...]
    strides: tuple[int, ...] = (4, 2, 2, 2)
    channels: int = 3
    activation: Activation = "gelu"
    head: Head | None = None
    decoder: int | None = None
    classes: int | None = None
    style: Style = "transformers"

    @property
    def stages(self) -> int:
        """How many there are: 4 in every published network."""
        return len(self.depths)

    @property
    def grid(self) -> Grid:
        """Where the logits of the decode head lie in the image: they are the first stage's."""
        return Grid(self.patches[0], self.strides[0])

    def hidden(self, stage: int) -> int:
        """Width of a stage's feed-forward layers."""
        return int(self.widths[stage] * self.mlp_ratios[stage])

    def sizes(self, size: Size) -> tuple[Size, ...]:
        """Height and width of every stage's planes for an image of `size`."""
        found = []
        for patch, stride in zip(self.patches, self.strides, strict=True):
            size = Grid(patch, stride).of(size)
            found.append(size)
        return tuple(found)

    def epsilon(self, place: Place) -> float:
        """The epsilon of a LayerNorm.

        Every LayerNorm of transformers 4.57 and 5 has 1e-5, whatever `layer_norm_eps` in config.json says: its modules
        do not read it. The authors' `mix_transformer.py` has 1e-6 but for the norms in patch embeddings and in
        attention, mmsegmentation's `mit.py` 1e-6 everywhere.
        """
        if self.style == "transformers" or (self.style == "nvlabs" and place in ("embedding", "reduction")):
            return 1e-5
        return 1e-6

    @property
    def stage_relu(self) -> bool:
        """Whether a ReLU follows the decode head's layer for each stage, as in mmsegmentation's `ConvModule`."""
        return self.style == "mmsegmentation"

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """transformers' `config.json` for it, with the names of its classes."""
        kind = "ForSemanticSegmentation" if self.head == "segmentation" else "ForImageClassification"
        return {
            **read_json("aliases.json")["common"],
            "architectures": [f"Segformer{kind}" if self.head else "SegformerModel"],
            "num_channels": self.channels,
            "num_encoder_blocks": self.stages,
            "depths": list(self.depths),
            "hidden_sizes": list(self.widths),
            "num_attention_heads": list(self.heads),
            "sr_ratios": list(self.reductions),
            "mlp_ratios": list(self.mlp_ratios),
            "patch_sizes": list(self.patches),
            "strides": list(self.strides),
            "hidden_act": self.activation,
            **({"decoder_hidden_size": self.decoder} if self.decoder else {}),
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
        }

    @classmethod
    def of_config(cls, config: Mapping[str, Any], head: Head | None, classes: int | None) -> Structure:
        """The structure that a transformers configuration describes, which `config.check` has found to be one."""
        get = {**DEFAULTS, **config}.__getitem__
        return cls(
            depths=tuple(get("depths")),
            widths=tuple(get("hidden_sizes")),
            heads=tuple(get("num_attention_heads")),
            reductions=tuple(get("sr_ratios")),
            mlp_ratios=tuple(get("mlp_ratios")),
            patches=tuple(get("patch_sizes")),
            strides=tuple(get("strides")),
            channels=get("num_channels"),
            activation=get("hidden_act"),
            head=head,
            decoder=get("decoder_hidden_size") if head == "segmentation" else None,
            classes=classes,
        )


DEFAULTS: dict[str, Any] = {
    "num_channels": 3,
    "num_encoder_blocks": 4,
    "depths": (2, 2, 2, 2),
    "hidden_sizes": (32, 64, 160, 256),
    "num_attention_heads": (1, 2, 5, 8),
    "sr_ratios": (8, 4, 2, 1),
    "mlp_ratios": (4, 4, 4, 4),
    "patch_sizes": (7, 3, 3, 3),
    "strides": (4, 2, 2, 2),
    "hidden_act": "gelu",
    "decoder_hidden_size": 256,
}
"""What transformers takes for a key that config.json lacks (`SegformerConfig`, 4.57 and 5)."""
