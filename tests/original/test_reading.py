"""`.pth` files as they come: wrapped, prefixed, damaged, of something else."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from segexport import checkpoint as checkpoints
from segexport import scenes
from segexport.errors import CheckpointError
from segexport.files import sha256_of
from tests.support.checkpoints import save_checkpoint
from tests.support.originals import original_tensors, write
from tests.support.torch_files import digest_of, weights_sha256


@pytest.fixture(scope="module")
def tensors(checkpoint: Path) -> dict[str, Any]:
    return original_tensors(checkpoint)


def test_a_whole_file(tmp_path: Path, tensors, checkpoint: Path) -> None:
    import torch

    meta = {"CLASSES": list(scenes.LABELS), "PALETTE": [list(colour) for colour in scenes.PALETTE]}
    path = write(tmp_path / "x.pth", tensors, **meta)
    loaded = checkpoints.load(path)
    assert loaded.source.id == str(path.resolve())
    assert loaded.source.weights_sha256 == sha256_of(path)
    assert loaded.labels == checkpoints.load(checkpoint).labels
    assert loaded.config["num_attention_heads"] == [1, 2, 3, 4]
    assert loaded.config["sr_ratios"] == [8, 4, 2, 1]
    assert loaded.default_size == (512, 512)
    assert ["no processor" in note for note in loaded.notes] == [True, False]
    assert "decode_head.conv_seg.weight, decode_head.conv_seg.bias (a layer that" in loaded.notes[1]
    expected = checkpoints.load(checkpoint).model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model().state_dict().items())


@pytest.mark.parametrize("form", ["bare", "model", "module", "half", "no counters"])
def test_forms(tmp_path: Path, tensors, form: str) -> None:
    import torch

    content: Any = {
        "bare": tensors,
        "model": {"model": tensors, "epoch": 3},
        "module": {"state_dict": {f"module.{k}": v for k, v in tensors.items()}},
        "half": {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()},
        "no counters": {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")},
    }[form]
    torch.save(content, tmp_path / "x.pth")
    loaded = checkpoints.load(tmp_path / "x.pth")
    assert len(loaded.labels) == 10
    assert loaded.labels.names[3] == "LABEL_3"
    assert any("does not name its classes" in note for note in loaded.notes)
    assert {parameter.dtype for parameter in loaded.model().parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("classes", "meta", "first", "reduce"),
    [
        (150, {}, "LABEL_0", True),
        (19, {}, "road", False),
        (19, {"CLASSES": ["a", "b"]}, "road", False),
        (150, {"dataset_meta": {"classes": ("wall", *(f"c{i}" for i in range(149)))}}, "wall", True),
        (150, {"CLASSES": [f"c{i}" for i in range(150)]}, "c0", False),
    ],
)
def test_labels(tmp_path: Path, classes: int, meta, first: str, reduce: bool) -> None:
    folder = save_checkpoint(tmp_path / "hf", classes=classes)
    loaded = checkpoints.load(write(tmp_path / "x.pth", original_tensors(folder), **meta))
    assert (len(loaded.labels), loaded.labels.names[0], loaded.labels.reduce) == (classes, first, reduce)


def test_an_imagenet_encoder(tmp_path: Path, classifier: Path) -> None:
    import torch

    torch.save(original_tensors(classifier, prefix=""), tmp_path / "mit.pth")
    loaded = checkpoints.load(tmp_path / "mit.pth")
    assert (loaded.architecture, len(loaded.labels)) == ("image-classification", 300)
    expected = checkpoints.load(classifier).model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model().state_dict().items())


def test_random_weights_of_a_file(tmp_path: Path, tensors) -> None:
    path = write(tmp_path / "x.pth", tensors)
    random = checkpoints.load(path, random_init=True)
    assert random.source.random_weights
    assert weights_sha256(random.model()) == digest_of(random.tensors())


NORM = "backbone.norm1.bias"
KV = "backbone.block2.0.attn.kv.bias"
WRONG = {
    "a key too many": (lambda t: {**t, "decode_head.extra": t[NORM]}, r"has 1 that no .*decode_head\.extra"),
    "a key too few": (lambda t: _less(t, KV), rf"lacks 1 weights \({KV}"),
    "a stage too few": (lambda t: _less(t, "backbone.patch_embed3.proj.weight"), r"lacks backbone\.patch_embed3\.proj"),
    "no head": (lambda t: {k: t[k] for k in t if k.startswith("backbone.")}, "encoder without a head: fine-tune"),
    "another model": (lambda t: {"conv1.weight": t[NORM]}, r"no SegFormer of .*conv1\.weight"),
    "transformers": (lambda t: {"segformer.x": t[NORM]}, "transformers' names.*save_pretrained"),
    "an odd kv": (lambda t: {**t, KV: t[NORM][:7]}, r"shape \[7\], which is no"),
}


def _less(tensors, name: str):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize("case", WRONG)
def test_not_exactly_a_segformer(tmp_path: Path, tensors, case: str) -> None:
    change, complaint = WRONG[case]
    path = write(tmp_path / "x.pth", change(tensors))
    with pytest.raises(CheckpointError, match=complaint) as caught:
        checkpoints.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path, tensors) -> None:
    path = write(tmp_path / "x.pth", tensors)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 99, whole[:100], pickle.dumps([1, 2]), b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
            checkpoints.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such folder, file or alias"):
        checkpoints.load(tmp_path / "gone.pth")
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such folder, file or alias"):
        checkpoints.load("gone.pth")


class Touch:
    """Runs when it is unpickled by anything that runs things."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code(tmp_path: Path, tensors, zipped: bool) -> None:
    import torch

    path, ran = tmp_path / "x.pth", tmp_path / "ran"
    content = {"state_dict": tensors, "message_hub": Touch(ran)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"holds pathlib\.Path\.touch|could run code") as caught:
        checkpoints.load(path)
    assert not ran.exists()
    assert "resave its tensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_remedy_for_such_a_file_works(tmp_path: Path, tensors) -> None:
    import subprocess
    import sys

    import torch

    torch.save({"state_dict": tensors, "message_hub": Touch(tmp_path / "ran")}, tmp_path / "IN.pth")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(tmp_path / "IN.pth")
    code = re.search(r'python -c "(.*)"$', str(caught.value))[1]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert len(checkpoints.load(tmp_path / "OUT.pth").labels) == 10
