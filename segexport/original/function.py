"""What a checkpoint computes and transformers' modules would not: mmsegmentation's stage layers, and small epsilons.

mmsegmentation's head is Conv 1x1 -> BatchNorm -> ReLU for each stage (`ConvModule`), where the authors' and
transformers' is a Linear alone. In eval mode a BatchNorm is an affine map, so it folds into the Linear:

    W' = s W,  b' = beta - s mean,  s = gamma / sqrt(var + eps)

and the ReLU is put behind it. The epsilons of LayerNorms are `segformer.Structure.epsilon`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segexport.original.conversion import convert
from segexport.original.names import STAGE_NORM
from segexport.original.structure import STAGES
from segexport.segformer import Structure
from segexport.segformer.names import norm_place
from segexport.segformer.structure import BATCH_NORM_EPSILON
from segexport.spec import Architecture
from segexport.weights import pytorch
from segexport.weights.state_dicts import read

if TYPE_CHECKING:
    import torch


def load_model(
    architecture: Architecture, file: Path, config: dict[str, Any], attention: str | None
) -> torch.nn.Module:
    """transformers' model with the weights of a `.pth` file, computing what they were trained for, eval mode, fp32.

    What transformers' own modules would compute otherwise is restored, see `restore`: written with
    `save_pretrained` that would be lost.

    Raises:
        CheckpointError: the file cannot be read, or does not hold exactly a SegFormer's weights.
        EngineUnavailable: transformers or torch is not installed.
    """
    converted = convert(read(file).tensors, file)
    model = pytorch.complete_model(architecture, config, folded(converted.tensors), str(file), attention)
    return restore(model, converted.structure)


def folded(tensors: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The tensors with each stage's BatchNorm, where there is one, folded into its Linear; computed in float64."""
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(STAGE_NORM.partition("{")[0])}
    if len(found) == len(tensors):
        return found
    for stage in range(STAGES):
        norm, linear = STAGE_NORM.format(i=stage), f"decode_head.linear_c.{stage}.proj."
        gamma, beta, mean, variance = (
            tensors[norm + kind].astype(np.float64) for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        found[linear + "weight"] = (tensors[linear + "weight"].astype(np.float64) * scale[:, None]).astype(np.float32)
        found[linear + "bias"] = (beta - mean * scale).astype(np.float32)
    return found


def restore(model: torch.nn.Module, structure: Structure) -> torch.nn.Module:
    """Give transformers' model, loaded with `folded` tensors, the checkpoint's function; changed in place."""
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = structure.epsilon(norm_place(name))
    if structure.stage_relu and hasattr(model, "decode_head"):
        head: Any = model.decode_head
        # 5.x and 4.57
        stages = head.linear_projections if hasattr(head, "linear_projections") else head.linear_c
        for stage in stages:
            stage.proj = _with_relu(stage.proj)
    return model


def _with_relu(linear: torch.nn.Linear) -> torch.nn.Linear:
    """A Linear with a ReLU behind it, under the same names."""
    import torch

    class LinearReLU(torch.nn.Linear):  # type: ignore[misc]  # torch is not followed
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.relu(super().forward(features))

    layer = LinearReLU(linear.in_features, linear.out_features, device="meta")
    layer.weight, layer.bias = linear.weight, linear.bias
    return layer.train(linear.training)
