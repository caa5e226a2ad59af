"""The written graph is the traced one, node for node, and computes what PyTorch computes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from segexport import checkpoint as checkpoints
from segexport import segformer
from segexport.checkpoint import Checkpoint
from segexport.data import read_json
from segexport.segformer import Structure, network
from segexport.spec import DYNAMIC, Size
from tests.support.checkpoints import TINY, Tensors, spread, write_checkpoint
from tests.support.structures import STRUCTURES
from tests.support.tracing import form_of, traced

PUBLISHED = (512, 512)


def published(name: str) -> Structure:
    """The structure of an alias."""
    return checkpoints.load(name, random_init=True).structure


def written(loaded: Checkpoint, size: Size, batch: int = 1) -> ir.Model:
    return network.write(loaded.structure, loaded.tensors(), size, batch)


def logits_of(model: ir.Model, image: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"pixel_values": image})[0]


def image_for(structure: Structure, size: Size, count: int = 1) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((count, structure.channels, *size), np.float32)


def with_small_variances(tensors: Tensors) -> Tensors:
    """Tokens so small that a norm's epsilon is a good part of their variance."""
    return {
        name: tensor * np.float32(1e-3) if "patch_embeddings" in name and ".proj." in name else tensor
        for name, tensor in tensors.items()
    }


@pytest.fixture(scope="session")
def traces(request: pytest.FixtureRequest) -> Path:
    """Where traces are kept from run to run."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("traces"))


def assert_written_as_traced(loaded: Checkpoint, size: Size, batch: int, traces: Path) -> None:
    expected, found = traced(loaded, size, batch, traces), form_of(written(loaded, size, batch))
    assert found.nodes == expected.nodes
    pooled = ["" if scope == "classifier.pooling" else scope for scope in found.scopes]  # code of no module's
    assert pooled == expected.scopes


@pytest.mark.parametrize(
    ("size", "batch"), [((64, 96), 1), ((97, 131), 1), ((64, 96), DYNAMIC)], ids=["fixed", "odd", "open batch"]
)
@pytest.mark.parametrize("kind", ["tiny", "classifier"])
def test_the_written_graph_is_the_traced_one(kind: str, size: Size, batch: int, tmp_path: Path, traces: Path) -> None:
    loaded = checkpoints.load(write_checkpoint(tmp_path / "x", STRUCTURES[kind]))
    assert_written_as_traced(loaded, size, batch, traces)


@pytest.mark.parametrize(
    "alias", ["b0", *(pytest.param(name, marks=pytest.mark.slow) for name in ("b1", "b2", "b3", "b4", "b5", "mit-b0"))]
)
def test_the_published_networks_are_as_traced(alias: str, tmp_path: Path, traces: Path) -> None:
    loaded = checkpoints.load(write_checkpoint(tmp_path / "x", published(alias)))
    assert_written_as_traced(loaded, PUBLISHED, 1, traces)
    image = image_for(loaded.structure, PUBLISHED)
    expected, found = logits_of_torch(loaded, image), logits_of(written(loaded, PUBLISHED), image)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_small_variances_show_a_wrong_epsilon(tmp_path: Path, traces: Path) -> None:
    """The epsilon is 1e-5, although config.json says 1e-6, and the comparison with PyTorch would show the other."""
    folder = write_checkpoint(tmp_path / "x", change=with_small_variances)
    assert '"layer_norm_eps": 1e-06' in (folder / "config.json").read_text()
    loaded = checkpoints.load(folder)
    assert_written_as_traced(loaded, (64, 96), 1, traces)
    image = image_for(TINY, (64, 96))
    expected = logits_of_torch(loaded, image)
    np.testing.assert_allclose(logits_of(written(loaded, (64, 96)), image), expected, atol=1e-4)
    wrong = dataclasses.replace(loaded.structure, style="mmsegmentation")  # whose norms all have 1e-6
    other = logits_of(network.write(wrong, loaded.tensors(), (64, 96)), image)
    assert np.abs(other - expected).max() > 0.01


@pytest.mark.parametrize("kind", STRUCTURES)
def test_any_structure_computes_what_pytorch_computes(kind: str) -> None:
    structure = STRUCTURES[kind]
    tensors = spread(structure)
    model = torch_model(structure, tensors)
    for size, batch in (((64, 96), 1), ((75, 113), DYNAMIC)):
        image = image_for(structure, size, 1 if batch == 1 else 2)
        expected = run_torch(model, image)
        found = logits_of(network.write(structure, tensors, size, batch), image)
        assert found.shape == expected.shape
        assert expected.std() > 0.05
        np.testing.assert_allclose(found, expected, atol=1e-4)
        if structure.head == "segmentation":
            assert found.shape[2:] == structure.grid.of(size) == structure.sizes(size)[0]


def test_every_tensor_is_read_exactly_once() -> None:
    class Counted(dict):
        def __getitem__(self, name: str) -> np.ndarray:
            counts[name] = counts.get(name, 0) + 1
            return super().__getitem__(name)

    for structure in STRUCTURES.values():
        counts: dict[str, int] = {}
        network.write(structure, Counted(spread(structure)), (64, 96))
        assert counts == dict.fromkeys(segformer.parameters(structure), 1)


@pytest.mark.parametrize("alias", read_json("aliases.json")["aliases"])
def test_parameters_are_transformers_own(alias: str) -> None:
    import torch
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

    structure = published(alias)
    kind = SegformerForSemanticSegmentation if structure.head == "segmentation" else SegformerForImageClassification
    with torch.device("meta"):
        model = kind(SegformerConfig(**structure.config([f"{i}" for i in range(structure.classes or 0)])))
    expected = {segformer.names.disk_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert segformer.parameters(structure) == {k: v for k, v in expected.items() if k not in counters}


def torch_model(structure: Structure, tensors: Tensors):
    from segexport.weights import pytorch

    config = structure.config([f"{i}" for i in range(structure.classes or 0)])
    return pytorch.complete_model(segformer.HEADS[structure.head], config, tensors, "test")


def run_torch(model, image: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model(pixel_values=torch.from_numpy(image)).logits.numpy()


def logits_of_torch(loaded: Checkpoint, image: np.ndarray) -> np.ndarray:
    return run_torch(loaded.model(), image)
