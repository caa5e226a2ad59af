"""NumPy arrays in transformers' models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segexport import checkpoint as checkpoints
from segexport import weights


def test_arrays_and_models_share_no_memory(checkpoint: Path) -> None:
    import torch

    tensors: dict[str, Any] = weights.read_tensors(weights.find(checkpoint))
    kept = {name: tensor.copy() for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.flags.writeable = False
    config = checkpoints.load(checkpoint).config
    model, info = weights.from_tensors("semantic-segmentation", config, tensors, "x")
    assert not info["missing_keys"]
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    assert all(np.array_equal(tensors[name], tensor) for name, tensor in kept.items())
