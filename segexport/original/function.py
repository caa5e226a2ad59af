"""What a checkpoint computes and transformers' modules would not: mmsegmentation's stage layers, and small epsilons.

mmsegmentation's head is Conv 1x1 -> BatchNorm -> ReLU for each stage (`ConvModule`), where the authors' and
transformers' is a Linear alone. In eval mode a BatchNorm is an affine map, so it folds into the Linear:

    W' = s W,  b' = beta - s mean,  s = gamma / sqrt(var + eps)

and the ReLU is put behind it. Every LayerNorm of transformers' SegFormer has an epsilon of 1e-5. The authors'
`mix_transformer.py` has 1e-6 but for the norms in patch embeddings and in attention, mmsegmentation's `mit.py` 1e-6
everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segexport.original.names import STAGE_NORM
from segexport.original.structure import STAGES, Style

if TYPE_CHECKING:
    import torch

_BATCH_NORM_EPSILON = 1e-5  # torch's and mmcv's default, which no configuration of either repository changes


def folded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors with each stage's BatchNorm, where there is one, folded into its Linear; computed in float64."""
    import torch

    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(STAGE_NORM.partition("{")[0])}
    if len(found) == len(tensors):
        return found
    for stage in range(STAGES):
        norm, linear = STAGE_NORM.format(i=stage), f"decode_head.linear_c.{stage}.proj."
        gamma, beta, mean, variance = (
            tensors[norm + kind].double() for kind in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / torch.sqrt(variance + _BATCH_NORM_EPSILON)
        found[linear + "weight"] = (tensors[linear + "weight"].double() * scale[:, None]).float()
        found[linear + "bias"] = (beta - mean * scale).float()
    return found


def restore(model: torch.nn.Module, style: Style) -> torch.nn.Module:
    """Give transformers' model, loaded with `folded` tensors, the checkpoint's function; changed in place."""
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            own = style == "nvlabs" and ("patch_embeddings" in name or "attention" in name)
            module.eps = 1e-5 if own else 1e-6
    if style == "mmsegmentation" and hasattr(model, "decode_head"):
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
