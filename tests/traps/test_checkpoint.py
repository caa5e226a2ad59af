"""Each known trap of a checkpoint, set on purpose; and that its code mends it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from segexport import checkpoint as checkpoints
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD
from segexport.traps.checkpoint import examine_checkpoint
from segexport.traps.trap import Trap
from tests.support.checkpoints import save_checkpoint
from tests.support.edits import edit_json, edit_tensors, truncate, without
from tests.support.originals import original_tensors, write

PROCESSOR, CONFIG, WEIGHTS = "preprocessor_config.json", "config.json", "model.safetensors"
USUAL = {"size-not-published"}
"""The small checkpoint is no B0, and nothing else is wrong with it."""


@pytest.fixture
def copy(tmp_path: Path, checkpoint: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "copy")


def found(path: Path, **options: Any) -> dict[str, Trap]:
    traps = {trap.name: trap for trap in examine_checkpoint(path, **options)}
    for trap in traps.values():
        assert trap.where
        assert trap.detail
        assert trap.why
        assert trap.fix
        assert "\n" not in trap.detail + trap.why + trap.fix
    return traps


def test_nothing_wrong(checkpoint: Path, data: Path) -> None:
    assert found(checkpoint).keys() == USUAL
    assert found(checkpoint, data=data).keys() == USUAL


def test_a_trained_checkpoint(camvid_checkpoint: Path) -> None:
    assert [trap for trap in examine_checkpoint(camvid_checkpoint) if trap.severity == "error"] == []


BYTES = {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]}
PROCESSORS = {
    "normalised-without-rescaling": {"do_rescale": False, "do_normalize": True},
    "rescaled-twice": BYTES,
    "never-normalised": {"do_normalize": False},
    "mean-of-bgr": {"image_mean": list(IMAGENET_MEAN[::-1]), "image_std": list(IMAGENET_STD[::-1])},
    "mean-not-imagenets": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_and_the_code_that_mends_them(copy: Path, name: str) -> None:
    edit_json(copy / PROCESSOR, **PROCESSORS[name])
    trap = found(copy)[name]
    assert trap.severity == ("warning" if name == "mean-not-imagenets" else "error")
    exec(trap.code, {})
    assert found(copy).keys() == USUAL
    assert checkpoints.load(copy).preprocessing.mean == IMAGENET_MEAN


def test_the_figures_of_normalising_without_rescaling(copy: Path) -> None:
    edit_json(copy / PROCESSOR, do_rescale=False, do_normalize=True)
    low, high = found(copy)["normalised-without-rescaling"].detail.partition("becomes ")[2].split(",")[0].split(" to ")
    assert -2.2 <= float(low) < 400 < float(high) < 1200


@pytest.mark.parametrize("settings", [{"rescale_factor": 1 / 65025}, {"do_normalize": False, "do_rescale": False}])
def test_other_ways_to_the_same(copy: Path, settings) -> None:
    edit_json(copy / PROCESSOR, **settings)
    assert found(copy).keys() - USUAL == {"never-normalised" if "do_normalize" in settings else "rescaled-twice"}


def test_mean_and_std_of_bytes_without_rescaling_are_right(copy: Path) -> None:
    edit_json(copy / PROCESSOR, do_rescale=False, **BYTES)
    assert found(copy).keys() == USUAL


def test_other_processors(copy: Path) -> None:
    edit_json(copy / PROCESSOR, size={"height": 100, "width": 96})
    assert found(copy).keys() - USUAL == {"size-not-of-32"}
    edit_json(copy / PROCESSOR, size={"height": 64, "width": 96}, do_reduce_labels=True)
    assert found(copy).keys() - USUAL == {"labels-reduced"}
    (copy / PROCESSOR).write_text("{")
    assert "processor-fails" in found(copy)
    (copy / PROCESSOR).unlink()
    trap = found(copy)["no-processor"]
    exec(trap.code, {})
    assert found(copy).keys() == USUAL


def test_ade20k_counts_from_one(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "ade", classes=150)
    assert found(folder).keys() - USUAL == {"labels-not-reduced"}
    edit_json(folder / PROCESSOR, do_reduce_labels=True)
    assert found(folder).keys() == USUAL


NAMES = {str(i): f"name {i}" for i in range(11)}
CONFIGS = {
    "labels-and-head-differ": {"id2label": NAMES, "label2id": {name: int(i) for i, name in NAMES.items()}},
    "label-ids-with-gaps": {"id2label": {str(2 * i): f"name {i}" for i in range(10)}},
    "no-class-names": {"id2label": None},
    "label2id-not-inverse": {"label2id": {"road": 9}},
    "other-ignore-index": {"semantic_loss_ignore_index": 0},
    "last-stage-not-reshaped": {"reshape_last_stage": False},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_and_the_code_that_mends_them(copy: Path, name: str) -> None:
    edit_json(copy / CONFIG, **CONFIGS[name])
    trap = found(copy)[name]
    exec(trap.code, {})
    assert name not in found(copy) or name == "no-class-names"
    assert not [trap for trap in examine_checkpoint(copy) if trap.severity == "error"]
    assert len(checkpoints.load(copy).labels) == 10


def test_a_head_of_150_against_151_classes(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "ade", classes=150)
    edit_json(folder / CONFIG, id2label={str(i): f"class {i}" for i in range(151)})
    assert "head has 150 outputs and id2label names 151 classes" in found(folder)["labels-and-head-differ"].detail


def test_weights_that_are_not_there(copy: Path) -> None:
    name = "segformer.encoder.block.1.0.mlp.dense2.weight"
    edit_tensors(copy, without(name))
    assert name in found(copy)["weights-missing"].detail
    edit_tensors(copy, lambda t: {**t, name: t["decode_head.linear_fuse.weight"], "head.extra": t[HEAD]})
    assert "head.extra" in found(copy)["weights-unexpected"].detail


HEAD = "decode_head.classifier.weight"


def test_weights_that_were_never_trained(tmp_path: Path) -> None:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    small = SegformerConfig(depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8)
    SegformerForSemanticSegmentation(small).save_pretrained(tmp_path / "new")
    traps = found(tmp_path / "new")
    assert {"encoder-untrained", "head-untrained", "no-processor", "no-class-names"} <= traps.keys()


def test_weights_that_are_no_numbers(copy: Path) -> None:
    import numpy as np

    edit_tensors(copy, lambda t: {**t, HEAD: np.where(t[HEAD] == t[HEAD].max(), np.nan, t[HEAD])})
    assert HEAD in found(copy)["weights-not-finite"].detail


def test_a_classifier_has_no_decode_head(classifier: Path) -> None:
    assert "image classifier of 300 classes" in found(classifier)["no-head"].detail
    assert not [trap for trap in examine_checkpoint(classifier) if trap.severity == "error"]


@pytest.mark.parametrize(
    ("break_it", "name"),
    [
        (lambda c: truncate(c / WEIGHTS), "weights-unreadable"),
        (lambda c: (c / WEIGHTS).unlink(), "weights-unreadable"),
        (lambda c: (c / CONFIG).write_text("{"), "configuration-unreadable"),
        (lambda c: edit_json(c / CONFIG, model_type="bert"), "configuration-unreadable"),
        (lambda c: edit_json(c / CONFIG, depths=3), "checkpoint-not-loaded"),
        (shutil.rmtree, "checkpoint-not-found"),
    ],
)
def test_what_does_not_load(copy: Path, break_it, name: str) -> None:
    edit_json(copy / PROCESSOR, do_normalize=False)
    break_it(copy)
    traps = found(copy)
    if name != "checkpoint-not-loaded":
        assert traps[name].severity == "error"
    assert "never-normalised" in traps or name == "checkpoint-not-found"


def test_pth_files(tmp_path: Path, checkpoint: Path) -> None:
    path = write(tmp_path / "x.pth", original_tensors(checkpoint))
    assert found(path).keys() == USUAL | {"no-processor", "no-class-names"}
    path.write_bytes(b"garbage")
    assert found(path).keys() == {"weights-unreadable"}
