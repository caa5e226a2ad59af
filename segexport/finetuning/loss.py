"""Cross entropy of upsampled logits against masks of full size, weighed by class, or on the hard pixels alone (OHEM).

Upsampled logits are large: 150 classes at 512x512 are 157 MB an image, and softmax and its gradient as much again. So
the loss and its gradient are found image by image while going forward, and only the gradient of the small logits is
kept.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from segexport.spec import IGNORE_INDEX

if TYPE_CHECKING:
    import torch

HARD = 0.7
"""OHEM: pixels whose true class has less than this probability are hard, ..."""

_MANY = 64
"""Classes from which on the CPU is faster with the classes of a pixel side by side."""

LEAST_HARD = 100_000
"""... and at least so many an image are kept (mmsegmentation's OHEMPixelSampler for SegFormer-like heads)."""


def segmentation_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None, *, ohem: bool = False
) -> torch.Tensor:
    """Mean cross entropy over the labelled pixels of a batch, fp32; 0 where no pixel is labelled.

    Args:
        logits: float [N, classes, h, w], brought to the labels' size bilinearly (align_corners=False).
        labels: int64 [N, H, W], 255 = ignore.
        weights: float32 [classes]; the mean is then weighed, as `torch.nn.functional.cross_entropy` does.
        ohem: only hard pixels count (Shrivastava et al. 2016, arXiv:1604.03540, per pixel as in mmsegmentation).
    """
    keep = _hard(logits, labels) if ohem else labels
    loss: torch.Tensor = _by_image().apply(logits.float(), keep, weights)
    return loss


def _cross_entropy(logits: torch.Tensor, label: torch.Tensor, weights: torch.Tensor | None, reduction: str) -> Any:
    """Of one image: logits [1, classes, h, w] brought to the size of its label [1, H, W], pixel by pixel or summed."""
    import torch

    if many := logits.shape[1] >= _MANY:
        logits = logits.contiguous(memory_format=torch.channels_last)
    full = torch.nn.functional.interpolate(logits, size=label.shape[-2:], mode="bilinear", align_corners=False)
    if many:
        full, label = full.permute(0, 2, 3, 1).reshape(-1, full.shape[1]), label.reshape(-1)
    return torch.nn.functional.cross_entropy(full, label, weights, ignore_index=IGNORE_INDEX, reduction=reduction)


def _hard(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The labels with 255 wherever the network is sure and right, int64 [N, H, W]."""
    import torch

    with torch.no_grad():
        loss = torch.stack(
            [
                _cross_entropy(one[None].float(), label[None], None, "none").reshape(label.shape)
                for one, label in zip(logits, labels, strict=True)
            ]
        )
        labelled = labels != IGNORE_INDEX
        kept = min(LEAST_HARD * len(labels), int(labelled.sum()))
        if kept == 0:
            return labels
        # -log p above a bound is p below one: the bound is HARD, or lower in loss where too few pixels are hard.
        bound = torch.tensor(HARD, device=loss.device).log().neg()
        bound = torch.minimum(bound, loss[labelled].topk(kept).values[-1])
        return torch.where(labelled & (loss >= bound), labels, IGNORE_INDEX)


@cache
def _by_image() -> Any:
    """The autograd function, made on first use: torch is imported late."""
    import torch

    class ByImage(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
            labelled = labels[labels != IGNORE_INDEX]
            weight = labelled.numel() if weights is None else weights[labelled].sum()
            share = 1 / torch.as_tensor(weight, dtype=torch.float32, device=logits.device).clamp_min(1e-12)
            total = logits.new_zeros(())
            gradient = torch.zeros_like(logits)
            for index in range(len(logits)):
                with torch.enable_grad():
                    one = logits[index : index + 1].detach().requires_grad_()
                    label = labels[index : index + 1]
                    loss = share * _cross_entropy(one, label, weights, "sum")
                (gradient[index : index + 1],) = torch.autograd.grad(loss, one)
                total += loss.detach()
            ctx.save_for_backward(gradient)
            return total

        @staticmethod
        def backward(ctx: Any, scale: torch.Tensor) -> Any:
            (gradient,) = ctx.saved_tensors
            return gradient * scale, None, None

    return ByImage
