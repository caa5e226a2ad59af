"""SegFormer's decode head in the order that is cheaper: each stage's layers first, upsampling behind them.

transformers (and the original) project every stage to the head's width, upsample all four to stage 1's grid,
concatenate them and fuse the 4C channels there. Bilinear resize acts on space alone and the 1x1 layers on channels
alone, so with the fusing convolution F in blocks F_i, one for each stage, and the stages' projections L_i, b_i:

    F . cat_i up(L_i x_i + b_i)  =  sum_i up((F_i L_i) x_i) + sum_i F_i b_i

Both sides are the same function of the same parameters, and so are their gradients; the right one multiplies each
stage once, at its own resolution, and concatenates nothing. BatchNorm stands behind the sum, so this holds in
training, too. The graph rewrite `passes/fold_decode_head.py` is the same algebra with BatchNorm's statistics frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def commute(model: Any) -> None:
    """Give a SegformerForSemanticSegmentation's head the cheaper forward pass. Parameters and their names stay.

    Raises:
        TypeError: the head is not transformers' own, so that its function is not known.
    """
    head = model.decode_head
    if type(head).__name__ != "SegformerDecodeHead" or not all(map(_is_linear, _stages(head))):
        raise TypeError(f"{type(head).__name__} is not the head of transformers' SegFormer")
    head.__class__ = _commuted()


@cache
def _commuted() -> type:
    from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

    class CommutedDecodeHead(SegformerDecodeHead):  # type: ignore[misc]
        forward = _forward

    return CommutedDecodeHead


def _is_linear(layer: Any) -> bool:
    """Whether a projection is transformers' own; mmsegmentation's, as `original` loads it, has a ReLU behind it."""
    return type(layer).__name__ == "SegformerMLP" and type(layer.proj).__name__ == "Linear"


def _stages(head: Any) -> Sequence[Any]:
    """The stages' projections: `linear_projections` in transformers 5, `linear_c` in 4."""
    found: Sequence[Any] = head.linear_projections if hasattr(head, "linear_projections") else head.linear_c
    return found


def _forward(head: Any, encoder_hidden_states: Sequence[torch.Tensor], **_: Any) -> torch.Tensor:
    """Logits [N, classes, h_1, w_1] of the four stages' maps [N, C_i, h_i, w_i], stage 1 first."""
    import torch

    layers = _stages(head)
    # cat takes the stages last to first.
    blocks = head.linear_fuse.weight[:, :, 0, 0].chunk(len(layers), dim=1)[::-1]
    with torch.autocast(encoder_hidden_states[0].device.type, enabled=False):  # products of weights stay in fp32
        weights = [block @ layer.proj.weight for block, layer in zip(blocks, layers, strict=True)]
        bias = torch.stack([block @ layer.proj.bias for block, layer in zip(blocks, layers, strict=True)]).sum(0)
    size = encoder_hidden_states[0].shape[-2:]
    total = torch.nn.functional.conv2d(encoder_hidden_states[0], weights[0][:, :, None, None], bias)
    for state, weight in zip(encoder_hidden_states[1:], weights[1:], strict=True):
        small = torch.nn.functional.conv2d(state, weight[:, :, None, None])
        total = total + torch.nn.functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    hidden = head.dropout(head.activation(head.batch_norm(total)))
    logits: torch.Tensor = head.classifier(hidden)
    return logits
