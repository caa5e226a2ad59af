"""Checkpoints as the two repositories write them, made from a transformers checkpoint's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segexport import checkpoint, original, weights
from tests.support.torch_files import as_torch


def structure_of(folder: Path) -> original.Structure:
    config = checkpoint.read_config(folder)
    tensors = weights.read_tensors(weights.find(folder))
    if (last := tensors.get("decode_head.classifier.weight")) is not None:
        return original.Structure.of_config(config, "segmentation", len(last))
    if (last := tensors.get("classifier.weight")) is not None:
        return original.Structure.of_config(config, "classification", len(last))
    return original.Structure.of_config(config, None, None)


def original_tensors(folder: Path, style: original.Style = "nvlabs", prefix: str = "backbone.") -> dict[str, Any]:
    """The folder's tensors, as torch's, under the names of a repository; mmsegmentation's stage norms are drawn."""
    import torch

    tensors = weights.read_tensors(weights.find(folder))
    structure = structure_of(folder)
    if style == "mmsegmentation" and structure.head == "segmentation":
        generator = torch.Generator().manual_seed(1)
        for stage in range(4):
            norm, width = f"decode_head.stage_norm.{stage}.", structure.decoder
            for kind in ("weight", "bias", "running_mean", "running_var"):
                drawn = torch.randn(width, generator=generator)
                tensors[norm + kind] = (drawn.abs() + 0.5 if kind == "running_var" else drawn).numpy()
            tensors[norm + "num_batches_tracked"] = np.array(7)
    found = as_torch(original.to_original(tensors, structure, style, prefix=prefix))
    if style == "nvlabs" and structure.head == "segmentation":
        found["decode_head.conv_seg.weight"] = torch.zeros(structure.classes, 128, 1, 1)
        found["decode_head.conv_seg.bias"] = torch.zeros(structure.classes)
    return found


def write(path: Path, tensors: dict[str, Any], **meta: Any) -> Path:
    """A file as mmcv writes it: state dict, meta, optimizer."""
    import torch

    torch.save({"state_dict": tensors, "meta": meta, "optimizer": {"state": {}, "param_groups": [{"lr": 6e-5}]}}, path)
    return path
