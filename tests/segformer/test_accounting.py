"""Every tensor of a checkpoint is used exactly once, or refused by name; what a user lets go is recorded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from segexport import checkpoint as checkpoints
from segexport.bundle import open_bundle
from segexport.errors import CheckpointError
from segexport.segformer import parameters
from segexport.segformer.names import disk_name
from tests.support.checkpoints import TINY, Tensors, write_checkpoint
from tests.support.cli import RunCli
from tests.support.structures import STRUCTURES

GATE = "decode_head.attention_gate.weight"
BLOCK = "segformer.encoder.block.1.0."


def with_tensor(name: str, shape: tuple[int, ...] = (4, 4)):
    return lambda tensors: {**tensors, name: np.ones(shape, np.float32)}


def changed(name: str, change):
    return lambda tensors: {**tensors, name: change(tensors[name])}


def without(name: str):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def poisoned(value: float):
    def change(tensor: np.ndarray) -> np.ndarray:
        tensor = tensor.copy()
        tensor.flat[3] = value
        return tensor

    return changed("segformer.encoder.block.0.0.mlp.dense1.weight", change)


REFUSED = {
    "a layer in the head": (with_tensor(GATE), rf"has 1 tensors that no SegFormer has \({GATE}\).*--ignore-unused"),
    "a deeper classifier": (with_tensor("classifier.0.weight"), r"no SegFormer has \(classifier\.0\.weight\)"),
    "a norm in the encoder": (with_tensor("segformer.encoder.norm.weight", (8,)), "segformer.encoder.norm.weight"),
    "a weight is missing": (without(f"{BLOCK}mlp.dense2.bias"), rf"lacks 1 weights \({BLOCK}mlp\.dense2\.bias\)"),
    "another shape": (
        changed(f"{BLOCK}attention.self.query.weight", lambda t: t[:, :8]),
        rf"{BLOCK}attention\.self\.query\.weight has shape \[16, 8\], and a SegFormer of its config",
    ),
    "another type": (
        changed(f"{BLOCK}mlp.dense2.bias", lambda t: t.astype(np.int64)),
        rf"{BLOCK}mlp\.dense2\.bias holds int64",
    ),
    "NaN": (poisoned(float("nan")), r"block\.0\.0\.mlp\.dense1\.weight holds NaN or infinity"),
    "infinity": (poisoned(float("-inf")), r"block\.0\.0\.mlp\.dense1\.weight holds NaN or infinity"),
    "a head of another kind": (
        lambda t: {key.replace("decode_head.classifier", "decode_head.conv_seg"): value for key, value in t.items()},
        r"has no head of a SegFormer .*, but .*decode_head",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_exactly_a_segformer_is_refused_by_name(case: str, tmp_path: Path, run_cli: RunCli) -> None:
    change, complaint = REFUSED[case]
    folder = write_checkpoint(tmp_path / "odd", change=change)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        checkpoints.load(folder).tensors()
    assert "\n" not in str(caught.value)
    outcome = run_cli("build", "--model", folder, "--engine", "onnxruntime", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err.strip().splitlines()[-1].startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


CONTRADICTIONS = {
    "depths": ({"depths": [1, 1, 1, 1]}, r"depths is \[1, 1, 1, 1\] in config\.json and \[1, 2, 1, 1\] in the weights"),
    "widths": ({"hidden_sizes": [8, 16, 24, 64]}, r"hidden_sizes is .* and \[8, 16, 24, 32\] in the weights"),
    "patches": ({"patch_sizes": [7, 3, 3, 5]}, r"patch_sizes is .* and \[7, 3, 3, 3\] in the weights"),
    "reductions": ({"sr_ratios": [8, 4, 2, 2]}, r"sr_ratios is .* and \[8, 4, 2, 1\] in the weights"),
    "ratios": ({"mlp_ratios": [4, 4, 4, 2]}, r"mlp_ratios is .* and \[4, 4, 4, 4\] in the weights"),
    "decoder": ({"decoder_hidden_size": 64}, r"decoder_hidden_size is 64 in config\.json and 16 in the weights"),
    "labels": ({"id2label": {"0": "a"}}, r"the head has 10 outputs but id2label names 1 classes"),
    "no labels": ({"id2label": None}, r"has 10 outputs and config\.json has no id2label"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_key_that_contradicts_the_weights_is_named(case: str, tmp_path: Path) -> None:
    changes, complaint = CONTRADICTIONS[case]
    folder = write_checkpoint(tmp_path / "odd")
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(CheckpointError, match=complaint) as caught:
        checkpoints.load(folder)
    assert "\n" not in str(caught.value)


def test_every_contradiction_has_a_line(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "odd")
    other = dataclasses.replace(TINY, depths=(3, 3, 3, 3), decoder=64)
    (folder / "config.json").write_text(json.dumps(other.config([f"class {i}" for i in range(10)])))
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(folder)
    assert [line.partition(": ")[2].split()[0] for line in str(caught.value).splitlines()] == [
        "depths",
        "decoder_hidden_size",
    ]


def test_what_is_known_to_be_harmless_is_left_out_and_said(tmp_path: Path) -> None:
    def change(tensors: Tensors) -> Tensors:
        return {
            **tensors,
            "decode_head.batch_norm.num_batches_tracked": np.array(7),
            "segformer.encoder.position_ids": np.arange(4),
            "classifier.weight": np.ones((5, 32), np.float32),
        }

    loaded = checkpoints.load(write_checkpoint(tmp_path / "x", change=change))
    assert set(loaded.tensors()) == set(parameters(TINY))
    assert loaded.source.ignored == ()
    (note,) = loaded.notes
    assert "segformer.encoder.position_ids (numbers that older releases" in note
    assert "classifier.weight (of an image classifier" in note


def test_a_classifier_with_leftovers_of_a_decode_head_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x", STRUCTURES["classifier"], change=with_tensor("decode_head.fuse.weight"))
    with pytest.raises(CheckpointError, match=r"no SegFormer has \(decode_head\.fuse\.weight\)"):
        checkpoints.load(folder)


def test_what_is_ignored_as_asked_stands_in_the_manifest(tmp_path: Path, run_cli: RunCli) -> None:
    folder = write_checkpoint(
        tmp_path / "x", change=lambda t: with_tensor("decode_head.gate.bias")(with_tensor(GATE)(t))
    )
    with pytest.raises(CheckpointError, match="has 2 tensors that no SegFormer has"):
        checkpoints.load(folder)
    with pytest.raises(CheckpointError, match=r"has no unused tensor nothing\.\*"):
        checkpoints.load(folder, ignore_unused=["decode_head.*", "nothing.*"])
    with pytest.raises(CheckpointError, match="--ignore-unused is for the tensors of a folder"):
        checkpoints.load(folder, ignore_unused=[GATE], random_init=True)
    arguments = ("build", "--model", folder, "--engine", "onnxruntime", "--out", tmp_path / "out")
    outcome = run_cli(*arguments, "--ignore-unused", GATE, "--ignore-unused", "decode_head.gate.*")
    assert outcome.code == 0, outcome.err
    assert "as --ignore-unused says" in outcome.out
    source = open_bundle(tmp_path / "out").manifest.source
    assert source.ignored == (GATE, "decode_head.gate.bias")
    assert checkpoints.load_source(source).source == source
    outcome = run_cli("build", "--from-bundle", tmp_path / "out", "--ignore-unused", GATE, "--out", tmp_path / "two")
    assert outcome.code == 2
    assert "leave out --ignore-unused" in outcome.err


def test_weights_that_are_used_cannot_be_ignored(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"has no unused tensor decode_head\.classifier\.weight"):
        checkpoints.load(folder, ignore_unused=["decode_head.classifier.weight"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_precisions_are_read_as_float32(dtype: str, tmp_path: Path) -> None:
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    folder = write_checkpoint(tmp_path / "x", change=lambda t: {k: v.astype(kind) for k, v in t.items()})
    assert load_file(folder / "model.safetensors")[f"{BLOCK}mlp.dense2.bias"].dtype == kind
    found = checkpoints.load(folder).tensors()
    expected = {k: v.astype(kind).astype(np.float32) for k, v in load_file(_plain(tmp_path)).items()}
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, expected[name])


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "whole")
    shards = write_checkpoint(tmp_path / "shards")
    tensors = load_file(shards / "model.safetensors")
    (shards / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, members in files.items():
        save_file({name: tensors[name] for name in members}, shards / file)
    index = {"weight_map": {name: file for file, members in files.items() for name in members}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    one, other = checkpoints.load(whole).tensors(), checkpoints.load(shards).tensors()
    assert list(one) == list(other)
    assert all((one[name] == other[name]).all() for name in one)


def test_random_weights_are_the_same_for_everyone(tmp_path: Path) -> None:
    """Build, bench and the reference draw them alike, and PyTorch's model holds those very numbers."""
    loaded, again = (checkpoints.load("b0", random_init=True) for _ in range(2))
    assert loaded.source == again.source
    state = {disk_name(name): tensor.numpy() for name, tensor in loaded.model().state_dict().items()}
    for name, tensor in loaded.tensors().items():
        np.testing.assert_array_equal(state[name], tensor)


def _plain(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "plain") / "model.safetensors"
