"""A `.pth` checkpoint computes what its own repository's network computes, in PyTorch and in the exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segexport import checkpoint as checkpoints
from segexport import contracts, exporter, original, passes
from segexport.reference.forward import logits
from segexport.segformer import network
from tests.support.originals import original_tensors, write
from tests.support.torch_files import as_torch

HEADS = (1, 2, 3, 4)


@pytest.fixture(params=["nvlabs", "mmsegmentation"])
def style(request: pytest.FixtureRequest) -> original.Style:
    return request.param


@pytest.fixture
def file(tmp_path: Path, checkpoint: Path, style: original.Style) -> Path:
    return write(tmp_path / "x.pth", original_tensors(checkpoint, style))


def test_the_repositories_own_network(file: Path, style: original.Style) -> None:
    import torch

    from tests.original import authors

    tensors = as_torch(original.read(file).tensors)
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = getattr(authors, style)(tensors, image, HEADS)
        model = checkpoints.load(file).model()
        assert not model.training
        found = model(pixel_values=image).logits
    assert found.shape == expected.shape == (2, 10, 16, 24)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_mmsegmentations_head_is_not_transformers(checkpoint: Path, tmp_path: Path) -> None:
    """Without the ReLU, and with the stages the other way round, the logits are others: the test above can fail."""
    import torch

    loaded = checkpoints.load(write(tmp_path / "x.pth", original_tensors(checkpoint, "mmsegmentation")))
    model, plain = loaded.model(), loaded.model()
    head = plain.decode_head
    for stage in getattr(head, "linear_projections", None) or head.linear_c:
        linear = torch.nn.Linear(stage.proj.in_features, stage.proj.out_features)
        linear.load_state_dict(stage.proj.state_dict())
        stage.proj = linear
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        difference = (model(pixel_values=image).logits - plain(pixel_values=image).logits).abs().max()
    assert difference > 0.01


def test_the_repositories_epsilons(file: Path, style: original.Style) -> None:
    import torch

    norms = {n: m.eps for n, m in checkpoints.load(file).model().named_modules() if isinstance(m, torch.nn.LayerNorm)}
    large = {name for name, epsilon in norms.items() if epsilon == 1e-5}
    assert set(norms.values()) == ({1e-5, 1e-6} if style == "nvlabs" else {1e-6})
    # One in each patch embedding, one behind each reduction of keys and values: stages 1 to 3 with a block each.
    assert len(large) == (4 + 3 if style == "nvlabs" else 0)


def test_the_exported_graph_with_and_without_rewrites(file: Path, style: original.Style) -> None:
    import onnx_ir as ir
    import onnxruntime
    import torch

    loaded = checkpoints.load(file)
    contract = contracts.contract_for(loaded, size=(64, 96), output="logits", mask_size="network")
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    mean, std = (torch.tensor(v) for v in (loaded.preprocessing.mean, loaded.preprocessing.std))
    pixels = ((torch.from_numpy(image) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = loaded.model()(pixel_values=pixels).logits.numpy()
    graph = exporter.export(loaded, contract)
    for rewrites in ((), passes.PIPELINE, passes.for_engine("onnxruntime", "fp32")):
        passes.run(graph, rewrites)
        session = onnxruntime.InferenceSession(ir.to_proto(graph.model).SerializeToString())
        np.testing.assert_allclose(session.run(None, {"image": image})[0], expected, atol=1e-4)
    folding = next(result for result in graph.rewrites if result.name == "fold-decode-head")
    if style == "mmsegmentation":
        assert not folding.rewritten
        assert [declined.reason for declined in folding.declined] == ["expected Add, found Relu"]
    else:
        assert folding.rewritten


def test_the_reference_and_the_graph_are_the_repositories_network(file: Path, style: original.Style) -> None:
    """Both held against the plain network on the file's own tensors: each states epsilons and order itself."""
    import onnx_ir as ir
    import onnxruntime
    import torch

    from tests.original import authors

    loaded = checkpoints.load(file)
    image = np.random.default_rng(4).standard_normal((1, 3, 64, 96), np.float32) * np.float32(0.01)
    with torch.inference_mode():
        tensors = as_torch(original.read(file).tensors)
        expected = getattr(authors, style)(tensors, torch.from_numpy(image), HEADS)[0].numpy()
    reference = logits(loaded.structure, loaded.tensors(), image[0].transpose(1, 2, 0)).transpose(2, 0, 1)
    model = network.write(loaded.structure, loaded.tensors(), (64, 96))
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    (written,) = session.run(None, {"pixel_values": image})[0]
    np.testing.assert_allclose(reference, expected, atol=1e-4)
    np.testing.assert_allclose(written, expected, atol=1e-4)
