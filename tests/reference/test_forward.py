"""The NumPy forward pass computes what PyTorch computes, and its decisions are PyTorch's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from segexport import checkpoint as checkpoints
from segexport import contracts, reference, scenes, segformer
from segexport.engines.base import as_batch
from segexport.engines.pytorch import open_checkpoint
from segexport.golden import decide
from segexport.reference.forward import logits, upsampled_positions
from segexport.segformer import Structure, network
from tests.support.checkpoints import spread, write_checkpoint
from tests.support.structures import STRUCTURES

SIZE = (64, 96)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_logits_are_pytorchs(kind: str) -> None:
    import torch

    from segexport.weights import pytorch

    structure = STRUCTURES[kind]
    tensors = spread(structure)
    names = [f"{i}" for i in range(structure.classes or 0)]
    model = pytorch.complete_model(segformer.HEADS[structure.head], structure.config(names), tensors, "test")
    for size in (SIZE, (75, 113)):
        image = np.random.default_rng(2).standard_normal((*size, structure.channels), np.float32)
        with torch.inference_mode():
            expected = model(pixel_values=torch.from_numpy(image.transpose(2, 0, 1)[None])).logits[0].numpy()
        found = logits(structure, tensors, image)
        assert expected.std() > 0.05
        np.testing.assert_allclose(found.transpose(2, 0, 1) if found.ndim == 3 else found, expected, atol=1e-4)


@pytest.mark.parametrize(("count", "wanted"), [(16, 64), (25, 97), (7, 7), (9, 4), (1, 5)])
def test_positions_of_upsampling_are_torchs(count: int, wanted: int) -> None:
    import torch

    signal = torch.randn(1, 1, count, 1, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.interpolate(signal, size=(wanted, 1), mode="bilinear", align_corners=False)
    found = upsampled_positions(count, wanted) @ signal[0, 0].numpy()
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=5e-6)


CONTRACTS = {
    "its own size": {},
    "odd": {"size": (97, 131)},
    "a camera": {"source_size": (135, 240)},
    "letterbox": {"source_size": (135, 240), "resize_mode": "letterbox"},
    "shortest edge": {"source_size": (135, 240), "resize_mode": "shortest-edge"},
    "the network's mask": {"mask_size": "network"},
    "a mask of its own": {"mask_size": (50, 70)},
    "logits": {"output": "logits"},
}


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("strides", [(4, 2, 2, 2), (2, 2, 2, 2)], ids=["stride 4", "stride 2"])
def test_decisions_are_pytorchs(contract: str, strides: tuple[int, ...], tmp_path: Path) -> None:
    structure = dataclasses.replace(STRUCTURES["tiny"], strides=strides)
    _compare(structure, CONTRACTS[contract], tmp_path)


def test_a_classifiers_decision_is_pytorchs(tmp_path: Path) -> None:
    _compare(STRUCTURES["classifier"], {}, tmp_path)


def _compare(structure: Structure, options: dict[str, object], tmp_path: Path) -> None:
    loaded = checkpoints.load(write_checkpoint(tmp_path / "x", structure))
    contract = contracts.contract_for(loaded, **options)
    picture = scenes.scene(7, contract.image_size)[0]
    found = reference.decide(loaded, loaded.tensors(), contract, picture)
    with open_checkpoint(loaded, contract) as runner:
        assert as_batch(picture, contract).shape[0] == 1
        expected = decide(runner, picture)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.ndim == 1:
        np.testing.assert_array_equal(found, expected)
    else:
        assert len(np.unique(expected)) >= 3
        assert (found == expected).mean() > 0.999


def test_one_wrong_constant_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the reference states itself is not taken from the graph's side, and the graph's side not from it."""
    loaded = checkpoints.load(write_checkpoint(tmp_path / "x"))
    contract = contracts.contract_for(loaded)
    picture = scenes.scene(7, contract.image_size)[0]
    before = reference.decide(loaded, loaded.tensors(), contract, picture)
    monkeypatch.setattr(Structure, "epsilon", lambda self, place: 1.0)
    monkeypatch.setattr(Structure, "sizes", lambda self, size: ((1, 1),) * 4)
    monkeypatch.setattr(network, "BATCH_NORM_EPSILON", 1.0)
    np.testing.assert_array_equal(reference.decide(loaded, loaded.tensors(), contract, picture), before)
