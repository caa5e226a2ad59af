"""B0 to B5 with random weights: written under the repositories' names and read back, every name and value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from segexport import original, weights
from segexport.aliases import alias_config
from segexport.segformer.names import disk_name
from tests.support.torch_files import as_numpy, as_torch

SIZES = [pytest.param(f"b{i}", marks=pytest.mark.slow) if i > 2 else f"b{i}" for i in range(6)]


def tensors_on_disk(alias: str, tmp_path):
    """Random weights of an alias under the names that transformers writes, and the structure they have."""
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

    config = alias_config(alias)
    kind = SegformerForImageClassification if alias.startswith("mit") else SegformerForSemanticSegmentation
    with weights.quiet_transformers():
        model = kind(SegformerConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    tensors = {disk_name(name): value for name, value in as_numpy(model.state_dict()).items()}
    head = "classification" if alias.startswith("mit") else "segmentation"
    return tensors, original.Structure.of_config(config, head, len(config["id2label"])), model


def of_style(structure: original.Structure, style: original.Style) -> original.Structure:
    """The same sizes, with the function of another repository's network."""
    return dataclasses.replace(structure, style=style)


def assert_equal(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


@pytest.mark.parametrize("alias", SIZES)
def test_the_authors_names(alias: str, tmp_path) -> None:
    import torch

    tensors, structure, model = tensors_on_disk(alias, tmp_path)
    assert len({tensor.ctypes.data for tensor in tensors.values()}) == len(tensors)
    torch.save(as_torch(original.to_original(tensors, structure, "nvlabs")), tmp_path / "x.pth")
    converted = original.convert(original.read(tmp_path / "x.pth").tensors, "x.pth")
    assert (converted.style, converted.structure, converted.left_out) == ("nvlabs", of_style(structure, "nvlabs"), {})
    assert_equal(converted.tensors, tensors)
    loaded, info = weights.from_tensors(
        "semantic-segmentation", structure.config([f"class {i}" for i in range(150)]), converted.tensors, "x.pth"
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_equal(as_numpy(loaded.state_dict()), as_numpy(model.state_dict()))


@pytest.mark.parametrize("alias", SIZES)
def test_mmsegmentations_names(alias: str, tmp_path) -> None:
    tensors, structure, _ = tensors_on_disk(alias, tmp_path)
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("segformer.")}
    bare = original.Structure(**{**vars(structure), "head": None, "decoder": None, "classes": None})
    written = original.to_original(encoder, bare, "mmsegmentation")
    assert written["backbone.layers.0.1.0.attn.attn.in_proj_weight"].shape == (3 * bare.widths[0], bare.widths[0])
    converted = original.convert(written, "x.pth")
    assert (converted.style, converted.structure, converted.left_out) == (
        "mmsegmentation",
        of_style(bare, "mmsegmentation"),
        {},
    )
    assert_equal(converted.tensors, encoder)


@pytest.mark.parametrize("alias", ["mit-b0", "mit-b1"])
def test_imagenet_encoders(alias: str, tmp_path) -> None:
    tensors, structure, _ = tensors_on_disk(alias, tmp_path)
    written = original.to_original(tensors, structure, "nvlabs", prefix="")
    assert {"patch_embed1.proj.weight", "block1.0.attn.kv.bias", "head.weight"} <= written.keys()
    assert not [name for name in written if name.startswith("backbone.")]
    converted = original.convert(written, "mit.pth")
    assert converted.structure == of_style(structure, "nvlabs")
    assert_equal(converted.tensors, tensors)


def test_names_on_disk_are_what_transformers_writes(checkpoint, tmp_path) -> None:
    from safetensors import safe_open

    from segexport import checkpoint as checkpoints

    model = checkpoints.load(checkpoint).model()
    with safe_open(checkpoint / "model.safetensors", framework="numpy") as file:
        assert {disk_name(name) for name in model.state_dict()} == set(file.keys())
