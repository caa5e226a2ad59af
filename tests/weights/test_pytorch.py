"""NumPy arrays in transformers' models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segexport import checkpoint as checkpoints
from segexport import reference, scenes, weights
from segexport.contracts import contract_for
from segexport.errors import CheckpointError
from tests.support.checkpoints import TINY, write_checkpoint


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


def test_what_the_installed_transformers_does_not_take_is_said_and_builds_all_the_same(tmp_path: Path) -> None:
    """transformers 5 refuses fractional ratios that 4 took: the checkpoint is whole, so nobody is to train it again."""
    import transformers

    structure = dataclasses.replace(TINY, mlp_ratios=(2.5, 1, 3, 4))
    loaded = checkpoints.load(write_checkpoint(tmp_path / "x", structure))
    contract = contract_for(loaded)
    picture = scenes.scene(1, contract.image_size)[0]
    assert len(np.unique(reference.decide(loaded, loaded.tensors(), contract, picture))) > 1
    if int(transformers.__version__.partition(".")[0]) < 5:
        assert loaded.model() is not None
        return
    with pytest.raises(
        CheckpointError, match=r"transformers 5\S* does not take its config\.json .*mlp_ratios"
    ) as caught:
        loaded.model()
    assert "\n" not in str(caught.value)
    assert "again" not in str(caught.value)
