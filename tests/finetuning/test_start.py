"""What training starts from: which weights are loaded, which are new, and what is said about it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from segexport import checkpoint as checkpoints
from segexport import scenes
from segexport.errors import CheckpointError
from segexport.finetuning.start import start
from segexport.palette import palette_for
from segexport.segformer import Structure, random_weights
from segexport.spec import Labels
from tests.support.edits import as_pickle, edit_json, edit_tensors, without
from tests.support.originals import original_tensors, write
from tests.support.torch_files import digest_of, weights_sha256

ENCODER = 16 + 4 * 18 + 3 * 4 + 8  # patch embeddings, blocks, reductions, norms of the small checkpoint


def labels(count: int, prefix: str = "thing") -> Labels:
    names = tuple(f"{prefix} {i}" for i in range(count))
    return Labels(names, palette_for(names))


SCENES = Labels(scenes.LABELS, scenes.PALETTE)


def same(first, second, start: str = "") -> bool:
    import torch

    other = second.state_dict()
    return all(torch.equal(v, other[k]) for k, v in first.state_dict().items() if k.startswith(start))


def test_the_same_classes(checkpoint: Path) -> None:
    found = start(str(checkpoint), SCENES)
    assert found.report == (f"encoder: {ENCODER} tensors loaded", "decode head: 15 tensors loaded")
    assert found.new == ()
    assert found.source == checkpoints.load(checkpoint).source
    assert found.preprocessing == checkpoints.load(checkpoint).preprocessing
    assert same(found.model, checkpoints.load(checkpoint).model())
    assert found.model.training
    assert found.model.config.semantic_loss_ignore_index == 255
    assert found.model.config.id2label == dict(enumerate(scenes.LABELS))
    assert found.model.config.label2id["sky"] == 7


def test_other_names(checkpoint: Path) -> None:
    found = start(str(checkpoint), labels(10))
    assert "kept, although 10 of 10 classes have other names (class 0 was 'road', is 'thing 0')" in found.report[-1]
    assert found.model.config.id2label[0] == "thing 0"
    assert same(found.model, checkpoints.load(checkpoint).model())


def test_other_classes(checkpoint: Path) -> None:
    import torch

    found = start(str(checkpoint), labels(4))
    assert found.report[-1] == (
        "last layer: 2 tensors newly initialised (expected: head of 10 against 4 classes: its last layer is new)"
    )
    assert set(found.new) == {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    assert same(found.model.segformer, checkpoints.load(checkpoint).model().segformer)
    again, other = start(str(checkpoint), labels(4)), start(str(checkpoint), labels(4), seed=1)
    assert same(found.model, again.model)
    assert not same(found.model, other.model, "decode_head.classifier.weight")
    state = torch.random.get_rng_state()
    start(str(checkpoint), labels(4))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("form", ["folder", "pth"])
def test_an_image_classifier(classifier: Path, tmp_path: Path, form: str) -> None:
    import torch

    path = classifier
    if form == "pth":
        path = tmp_path / "mit.pth"
        torch.save(original_tensors(classifier, prefix=""), path)
    else:
        path = shutil.copytree(classifier, tmp_path / "copy")
        edit_json(path / "config.json", reshape_last_stage=False)
    found = start(path, labels(5))
    assert found.report[0] == f"encoder: {ENCODER} tensors loaded"
    assert found.report[1].startswith("decode head: 15 tensors newly initialised (expected: the checkpoint is an image")
    assert found.report[2] == "left out: classifier (300 classes of images)"
    assert len(found.new) == 13  # less the two statistics of BatchNorm
    assert same(found.model.segformer, checkpoints.load(classifier).model().segformer)
    with torch.no_grad():
        assert found.model(pixel_values=torch.randn(2, 3, 64, 96)).logits.shape == (2, 5, 16, 24)


def test_an_encoder_alone(tmp_path: Path) -> None:
    from transformers import SegformerConfig, SegformerModel

    small = SegformerConfig(depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8)
    model = SegformerModel(small)
    model.save_pretrained(tmp_path / "encoder")
    found = start(tmp_path / "encoder", labels(3))
    assert "(expected: the checkpoint is an encoder alone, and has none)" in found.report[1]
    assert same(found.model.segformer, model)


@pytest.mark.parametrize("style", ["nvlabs", "mmsegmentation"])
def test_a_pth_file(checkpoint: Path, tmp_path: Path, style) -> None:
    path = write(tmp_path / "x.pth", original_tensors(checkpoint, style), CLASSES=list(scenes.LABELS))
    found = start(path, SCENES)
    assert same(found.model.segformer, checkpoints.load(checkpoint).model().segformer)
    if style == "nvlabs":
        assert same(found.model, checkpoints.load(checkpoint).model())
        assert "left out: decode_head.conv_seg.weight (a layer that" in found.report[2]
    else:
        assert "(expected: the checkpoint is mmsegmentation's, whose head has a BatchNorm and a ReLU" in found.report[1]
        assert found.report[2] == "left out: decode_head (10 classes)"


@pytest.mark.parametrize(
    "name", ["segformer.encoder.layer_norm.0.bias", "decode_head.linear_fuse.weight", "decode_head.classifier.weight"]
)
@pytest.mark.parametrize("pickled", [False, True])
def test_missing_weights_are_never_made_up(checkpoint: Path, tmp_path: Path, name: str, pickled: bool) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    if pickled:
        as_pickle(copy, without(name))
    else:
        edit_tensors(copy, without(name))
    with pytest.raises(CheckpointError, match=rf"copy lacks \d weights \(.*{name}"):
        start(copy, SCENES)


def test_options(checkpoint: Path) -> None:
    own = start(checkpoint, SCENES).model.config
    assert (own.classifier_dropout_prob, own.drop_path_rate) == (0.1, 0.1)
    told = start(checkpoint, SCENES, classifier_dropout=0.0, drop_path=0.2).model
    assert (told.config.classifier_dropout_prob, told.config.drop_path_rate) == (0.0, 0.2)
    assert told.decode_head.dropout.p == 0.0


def test_what_is_trained_opens_again(checkpoint: Path, tmp_path: Path) -> None:
    found = start(checkpoint, labels(4))
    found.model.save_pretrained(tmp_path / "out")
    loaded = checkpoints.load(tmp_path / "out")
    assert loaded.labels.names == labels(4).names
    assert same(loaded.model(), found.model)


@pytest.mark.parametrize("name", ["b0", "mit-b0", "nvidia/mit-b0"])
def test_random_weights_are_the_authors(name: str) -> None:
    """The spread of each kind of layer, by NVlabs' `_init_weights`; none of these needs a network."""
    import torch

    before = torch.random.get_rng_state()
    found = start(name, labels(5), random_init=True)
    assert torch.equal(before, torch.random.get_rng_state())
    assert found.source.random_weights
    structure = Structure.of_config(found.model.config.to_dict(), "segmentation", 5)
    assert weights_sha256(found.model) == digest_of(random_weights.draw(structure, 0))
    assert found.source.weights_sha256 == random_weights.sha256(structure, 0) != random_weights.sha256(structure, 1)
    assert "newly initialised from seed 0" in found.report[0]
    assert len(found.new) == len(list(found.model.parameters()))
    for module_name, module in found.model.segformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            expected = 0.02
        elif isinstance(module, torch.nn.Conv2d):
            height, width = module.kernel_size
            expected = math.sqrt(2 / (height * width * module.out_channels / module.groups))
        else:
            continue
        spread = 4 / math.sqrt(2 * module.weight.numel())  # four standard errors
        assert module.weight.std().item() == pytest.approx(expected, rel=spread), module_name
        assert not module.bias.any()
    fuse = found.model.decode_head.linear_fuse
    assert fuse.weight.std().item() == pytest.approx(math.sqrt(2 / fuse.out_channels), rel=0.01)


def test_random_weights_by_seed(checkpoint: Path) -> None:
    one, two, three = (start(checkpoint, SCENES, random_init=True, seed=seed) for seed in (3, 3, 4))
    assert same(one.model, two.model)
    assert not same(one.model, three.model)
    assert one.source == two.source != three.source
