"""From a folder, hub id or alias to a checkpoint: what is read, what is assumed, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from segexport import checkpoint as checkpoints
from segexport import scenes
from segexport.aliases import aliases
from segexport.data import read_json
from segexport.errors import CheckpointError
from segexport.files import sha256_of
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD
from tests.support.checkpoints import SIZE, save_checkpoint
from tests.support.edits import as_pickle, edit_json, edit_tensors, truncate, without
from tests.support.torch_files import digest_of, weights_sha256

HEAD = "decode_head.classifier.weight"


@pytest.fixture
def copy(tmp_path: Path, checkpoint: Path) -> Path:
    """The small checkpoint, to be changed."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_a_folder(checkpoint: Path) -> None:
    loaded = checkpoints.load(checkpoint)
    assert loaded.source.id == str(checkpoint.resolve())
    assert loaded.source.revision is None
    assert not loaded.source.random_weights
    assert loaded.source.weights_sha256 == sha256_of(checkpoint / "model.safetensors")
    assert loaded.architecture == "semantic-segmentation"
    assert loaded.labels.names == tuple(scenes.LABELS)
    assert not loaded.labels.reduce
    assert loaded.default_size == SIZE
    assert loaded.preprocessing.found_in == "preprocessor_config.json"
    assert loaded.notes == ()


def test_a_classifier(classifier: Path) -> None:
    loaded = checkpoints.load(classifier)
    assert loaded.architecture == "image-classification"
    assert len(loaded.labels) == len(loaded.labels.palette) == 300


def test_every_weight_of_the_folder_is_in_the_model(checkpoint: Path) -> None:
    from safetensors.torch import load_file

    model = checkpoints.load(checkpoint).model()
    assert not model.training
    # By content: transformers' releases name the same weights differently.
    loaded = {t.numpy().tobytes() for t in model.state_dict().values()}
    saved = {t.numpy().tobytes() for t in load_file(checkpoint / "model.safetensors").values()}
    assert len(saved) > 50
    assert saved <= loaded


def test_without_a_processor_imagenet_is_assumed_and_said(copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    loaded = checkpoints.load(copy)
    assert (loaded.preprocessing.mean, loaded.preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert loaded.preprocessing.rescale_factor == 1 / 255
    assert loaded.default_size == (512, 512)
    assert [note for note in loaded.notes if "no preprocessor_config.json" in note and "ImageNet" in note]


def test_normalising_without_rescaling_is_done_and_said(copy: Path) -> None:
    edit_json(copy / "preprocessor_config.json", do_rescale=False, do_normalize=True)
    loaded = checkpoints.load(copy)
    assert not loaded.preprocessing.do_rescale
    assert loaded.preprocessing.do_normalize
    assert any("not divided by 255" in note for note in loaded.notes)


WRONG = {
    "another model": (lambda c: edit_json(c / "config.json", model_type="bert"), "not a SegFormer .*'bert'"),
    "no model type": (lambda c: edit_json(c / "config.json", model_type=None), "not a SegFormer"),
    "four channels": (lambda c: edit_json(c / "config.json", num_channels=4), "takes 4 channels"),
    "no configuration": (lambda c: (c / "config.json").unlink(), r"has no config\.json"),
    "no JSON": (lambda c: (c / "config.json").write_text("{'"), r"config\.json is not valid JSON"),
    "no text": (lambda c: (c / "config.json").write_bytes(b"\xff\xfe\0"), r"config\.json is not valid JSON"),
    "a list": (lambda c: (c / "config.json").write_text("[]"), "not a SegFormer"),
    "no weights": (lambda c: (c / "model.safetensors").unlink(), r"has no weights \(model\.safetensors"),
    "half the weights": (lambda c: truncate(c / "model.safetensors"), r"model\.safetensors is truncated or damaged"),
    "empty weights": (lambda c: (c / "model.safetensors").write_bytes(b""), r"model\.safetensors is truncated"),
    "fewer labels": (
        lambda c: edit_json(c / "config.json", id2label={"0": "a", "1": "b"}),
        rf"head has {len(scenes.LABELS)} outputs but id2label names 2 classes.*num_labels=2",
    ),
    "gaps": (lambda c: edit_json(c / "config.json", id2label={"0": "a", "2": "b"}), "copy: id2label skips ids"),
    "names for ids": (
        lambda c: edit_json(c / "config.json", id2label={"a": "b"}),
        "copy: id2label cannot be understood",
    ),
    "no head": (lambda c: edit_tensors(c, without(HEAD)), "has no head"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_loaded(copy: Path, case: str) -> None:
    change, complaint = WRONG[case]
    change(copy)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        checkpoints.load(copy)
    assert "\n" not in str(caught.value)
    assert "copy" in str(caught.value)


def test_a_bare_encoder_has_no_head(tmp_path: Path) -> None:
    from transformers import SegformerConfig, SegformerModel

    small = SegformerConfig(depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1] * 4)
    SegformerModel(small).save_pretrained(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=r"encoder has no head \(its architecture is SegformerModel\): fine-tune"):
        checkpoints.load(tmp_path / "encoder")


@pytest.mark.parametrize(
    "name",
    [
        "decode_head.linear_fuse.weight",
        "segformer.encoder.layer_norm.0.bias",
        "segformer.encoder.block.1.0.mlp.dense2.weight",
    ],
)
@pytest.mark.parametrize("pickled", [False, True])
def test_missing_weights_are_never_made_up(copy: Path, pickled: bool, name: str) -> None:
    if pickled:
        as_pickle(copy, without(name))
    else:
        edit_tensors(copy, without(name))
    with pytest.raises(CheckpointError, match=rf"copy lacks 1 weights \({name}\): they would have been filled"):
        checkpoints.load(copy)


def test_a_sharded_checkpoint(copy: Path, checkpoint: Path) -> None:
    model = checkpoints.load(checkpoint).model()
    (copy / "model.safetensors").unlink()
    model.save_pretrained(copy, max_shard_size="100KB")
    shards = sorted(copy.glob("model-*.safetensors"))
    assert len(shards) > 1
    loaded = checkpoints.load(copy)
    assert weights_sha256(loaded.model()) == weights_sha256(model)
    shards[-1].write_bytes(shards[-1].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{shards[-1].name} is truncated"):
        checkpoints.load(copy)
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match=rf"lacks {shards[-1].name}, which model\.safetensors\.index\.json names"):
        checkpoints.load(copy)
    (copy / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json cannot be read"):
        checkpoints.load(copy)


def test_a_pickled_checkpoint(copy: Path, checkpoint: Path) -> None:
    loaded = checkpoints.load(as_pickle(copy))
    assert loaded.architecture == "semantic-segmentation"
    same = checkpoints.load(checkpoint).model()
    assert weights_sha256(loaded.model()) == weights_sha256(same)
    edit_json(copy / "config.json", id2label={"0": "a", "1": "b"})
    with pytest.raises(CheckpointError, match="head has 10 outputs but id2label names 2 classes"):
        checkpoints.load(copy).model()
    truncate(copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is truncated or no PyTorch file") as caught:
        checkpoints.load(copy).model()
    assert "\n" not in str(caught.value)


def test_a_pickle_runs_nothing(copy: Path, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    as_pickle(copy, lambda tensors: {**tensors, "extra": Touch()})
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin holds getattr beside its weights"):
        checkpoints.load(copy).model()
    assert not (tmp_path / "ran").exists()


def test_every_alias_says_where_it_is_from() -> None:
    table = read_json("aliases.json")
    assert "model cards" in table["source"].lower()
    assert "non-commercial" in table["licence"]
    assert {f"b{i}" for i in range(6)} | {f"mit-b{i}" for i in range(6)} <= table["aliases"].keys()
    for name, hub_id in aliases().items():
        entry = table["aliases"][name]
        assert hub_id.startswith("nvidia/")
        assert entry["architecture"] in hub_id
        assert entry["architecture"] in table["architectures"]
        assert entry["labels"] in table["label_sets"]
        if entry["task"] == "semantic-segmentation":
            assert hub_id.endswith(f"{entry['size'][0]}-{entry['size'][1]}")


@pytest.mark.parametrize(
    ("alias", "classes", "reduce", "size"),
    [("b0", 150, True, (512, 512)), ("b0-cityscapes-512x1024", 19, False, (512, 1024)), ("mit-b0", 1000, False, None)],
)
def test_random_weights_of_an_alias_need_no_network(alias: str, classes: int, reduce: bool, size) -> None:
    import torch

    before = torch.random.get_rng_state()
    loaded = checkpoints.load(alias, random_init=True)
    again = checkpoints.load(alias, random_init=True)
    assert loaded.source == again.source
    assert loaded.source.id == alias
    assert loaded.source.random_weights
    assert weights_sha256(loaded.model()) == digest_of(loaded.tensors())
    assert (len(loaded.labels), loaded.labels.reduce) == (classes, reduce)
    assert size is None or loaded.default_size == size
    assert any("random weights" in note for note in loaded.notes)
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_weights_of_a_folder_leave_its_own_alone(copy: Path) -> None:
    own = checkpoints.load(copy)
    (copy / "model.safetensors").unlink()
    random = checkpoints.load(copy, random_init=True)
    assert random.source.random_weights
    assert random.source.weights_sha256 != own.source.weights_sha256
    assert random.source == checkpoints.load(copy, random_init=True).source
    assert (random.labels, random.preprocessing) == (own.labels, own.preprocessing)
    assert weights_sha256(random.model()) == digest_of(random.tensors())


def test_random_weights_of_older_versions_are_to_be_built_again() -> None:
    source = dataclasses.replace(checkpoints.load("b0", random_init=True).source, weights_sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"random weights of b0 are not those that an older .*: build it again"):
        checkpoints.load_source(source)


def test_classifiers_keep_their_task_with_random_weights(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "tiny", classes=7, kind="classification")
    assert checkpoints.load(folder, random_init=True).architecture == "image-classification"


def test_a_bundle_called_b0_does_not_hide_the_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b0").mkdir()
    monkeypatch.chdir(tmp_path)
    assert checkpoints.load("b0", random_init=True).source.id == "b0"
