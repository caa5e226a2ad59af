"""A checkpoint with random weights, large enough to matter, the same for every seed."""

from __future__ import annotations

import torch
from protocol import Call, Facts, Request, serve
from transformers import SegformerConfig, SegformerForSemanticSegmentation


def prepare(request: Request) -> Facts:
    """Write a checkpoint of request["config"] to request["checkpoint"]."""
    torch.manual_seed(request["seed"])
    model = SegformerForSemanticSegmentation(SegformerConfig(**request["config"]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
        model.train()  # BatchNorm statistics of its own weights, not zeros and ones
        for _ in range(3):
            model(pixel_values=torch.randn(2, 3, 128, 128))
    model.eval().save_pretrained(request["checkpoint"])
    return {}


def _open(request: Request) -> tuple[Call, Facts]:
    raise NotImplementedError("a checkpoint is prepared, not called")


if __name__ == "__main__":
    serve(_open, prepare)
