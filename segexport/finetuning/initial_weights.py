"""New weights as the SegFormer authors draw them, so that a run from random weights is theirs and not transformers'.

Sources: NVlabs/SegFormer. Encoder: `mix_transformer.py`, `_init_weights`: Linear from a normal of 0.02 cut at +-2,
Conv2d from a normal of sqrt(2 / fan_out) with fan_out = kernel area * output channels / groups, biases 0, LayerNorm 1
and 0.
Head: `segformer_head.py`: linear layers and the last layer as PyTorch draws them, the fusing convolution from
mmcv's ConvModule (Kaiming normal of fan_out for ReLU), BatchNorm 1 and 0.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def draw(model: torch.nn.Module, seed: int, only: Container[str] | None = None) -> tuple[str, ...]:
    """Draw weights of a transformers SegFormer anew, in place, and keep PyTorch's own random state as it was.

    Args:
        model: SegformerForSemanticSegmentation.
        seed: the same seed gives the same weights, on the CPU.
        only: names of parameters and buffers; a module is drawn whole where one of its own is among them. None: all.

    Returns:
        The names of all that was drawn.
    """
    import torch

    drawn: list[str] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            here = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            own = [f"{name}.{key}" for key, _ in here]
            if own and (only is None or any(key in only for key in own)):
                _draw_module(name, module)
                drawn += own
    return tuple(drawn)


def _draw_module(name: str, module: torch.nn.Module) -> None:
    from torch import nn

    if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
        module.reset_parameters()  # BatchNorm's statistics too
    elif name.startswith("decode_head.linear_fuse"):
        assert isinstance(module, nn.Conv2d)
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif name.startswith("decode_head."):
        assert isinstance(module, nn.Linear | nn.Conv2d)
        module.reset_parameters()
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    else:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None
        height, width = module.kernel_size
        nn.init.normal_(module.weight, std=math.sqrt(2 / (height * width * module.out_channels / module.groups)))
        nn.init.zeros_(module.bias)
