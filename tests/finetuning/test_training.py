"""Whole trainings of a tiny network, as a user starts them."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from segexport.errors import OutputError
from tests.support.checkpoints import SIZE
from tests.support.training import (
    ONE_THREAD,
    Stop,
    command,
    python,
    stop_at,
    weights,
    write_architecture,
    write_scenes,
)

pytest.importorskip("torch")
pytest.importorskip("transformers")

RECIPE = ("--steps", 24, "--batch", 2, "--evaluations", 3, "--save-every", 3, "--ema", 0.9)


@pytest.fixture(scope="module")
def scenes_folder(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data", val=5)


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    return write_architecture(tmp_path_factory.mktemp("architecture") / "tiny")


@pytest.fixture
def train(scenes_folder, architecture, tmp_path, run_cli):
    """`segexport finetune` in this process; returns the outcome and the folder."""

    def run(*more, data=scenes_folder, out=tmp_path / "out", model=architecture):
        start = ("finetune", "--random-init", "--model", model, "--data", data, "--out", out)
        return run_cli(*start, "--steps", 2, "--batch", 2, "--evaluations", 1, *more), out

    return run


@pytest.fixture(scope="module")
def unbroken(scenes_folder, architecture, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "out"
    python(scenes_folder, architecture, out)
    return out


def killed_when(arguments: list[str], happened) -> None:
    """Start a training and kill it, its children too, as soon as `happened()`."""
    process = subprocess.Popen(
        arguments, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_interrupted_it_ends_as_if_it_had_not_been(scenes_folder, architecture, unbroken, tmp_path):
    for step in (7, 14):  # before the first validation, and behind it
        with pytest.raises(Stop):
            python(scenes_folder, architecture, tmp_path / "out", resume=True, told=stop_at(step))
    trained = python(scenes_folder, architecture, tmp_path / "out", resume=True)
    assert weights(trained.folder) == weights(unbroken)
    assert [one["step"] for one in trained.history if "loss" in one] == list(range(1, 25))


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(scenes_folder, architecture, unbroken, tmp_path):
    out = tmp_path / "out"
    start = command(scenes_folder, architecture, out, *RECIPE, "--resume")
    # Before the first checkpoint; while one is being written; after one, between validations.
    killed_when(start, lambda: (out / "training.json").exists())
    killed_when(start, lambda: (out / "checkpoint-6").exists())
    killed_when(start, lambda: (out / "checkpoint-15" / "segexport-checkpoint.json").exists())
    subprocess.run(start, env=ONE_THREAD, check=True, capture_output=True, timeout=300)
    assert weights(out) == weights(unbroken)
    assert json.loads((out / "metrics.json").read_text()) == json.loads((unbroken / "metrics.json").read_text())
    assert not [*out.glob("checkpoint-*"), *out.glob("best-*")]


def test_the_result_is_a_checkpoint_with_card_and_logs(unbroken, scenes_folder):
    from transformers import SegformerForSemanticSegmentation

    from segexport import checkpoint, scenes

    loaded = checkpoint.load(unbroken)
    assert loaded.labels.names == tuple(scenes.LABELS)
    assert loaded.default_size == SIZE
    assert not loaded.source.random_weights
    assert SegformerForSemanticSegmentation.from_pretrained(unbroken).config.num_labels == len(scenes.LABELS)
    card = (unbroken / "README.md").read_text()
    metrics = json.loads((unbroken / "metrics.json").read_text())
    assert f"{metrics['miou']['value']:.2%}" in card
    assert metrics["miou"]["low"] <= metrics["miou"]["value"] <= metrics["miou"]["high"]
    assert "random weights" in card
    assert list(unbroken.glob("runs/*/events.out.tfevents.*"))
    history = json.loads((unbroken / "history.json").read_text())
    assert [one["step"] for one in history if "eval_miou" in one] == [8, 16, 24]


@pytest.mark.slow
def test_two_processes(scenes_folder, architecture, unbroken, tmp_path):
    """Each step sees the same images, so the loss is nearly that of one process; statistics of BatchNorm differ."""
    out = tmp_path / "out"
    subprocess.run(
        command(scenes_folder, architecture, out, *RECIPE, processes=2),
        env=ONE_THREAD,
        check=True,
        capture_output=True,
        timeout=300,
    )
    losses = [
        [one["loss"] for one in json.loads((folder / "history.json").read_text()) if "loss" in one]
        for folder in (unbroken, out)
    ]
    assert len(losses[1]) == 24
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    assert weights(out) != weights(unbroken)
    assert "24 steps of batch 2" in (out / "README.md").read_text()


def test_a_finished_training_is_not_touched(train, unbroken, scenes_folder, architecture):
    before = weights(unbroken)
    outcome, _ = train(out=unbroken)
    assert (outcome.code, "--overwrite" in outcome.err) == (2, True)
    outcome, _ = train("--resume", out=unbroken)
    assert outcome.code == 2
    assert "other" in outcome.err
    with pytest.raises(OutputError, match="is finished"):
        python(scenes_folder, architecture, unbroken, resume=True)
    assert weights(unbroken) == before


def test_three_images(train, tmp_path):
    data = write_scenes(tmp_path / "few", train=3, val=1)
    outcome, out = train(data=data)
    assert outcome.code == 0, outcome.err
    assert (out / "model.safetensors").exists()


def test_images_are_put_by_where_there_is_no_split(train, scenes_folder, tmp_path):
    outcome, out = train("--classes", scenes_folder / "classes.txt", data=scenes_folder / "train")
    assert outcome.code == 0, outcome.err
    data = json.loads((out / "training.json").read_text())["data"]
    assert (data["train"]["images"], data["val"]["images"]) == (7, 1)


def test_nothing_labelled_is_no_nan(train, tmp_path):
    data = write_scenes(tmp_path / "blank", train=4, val=1)
    for path in (data / "train" / "masks").iterdir():
        Image.fromarray(np.full(SIZE, 255, np.uint8)).save(path)
    outcome, out = train("--class-weights", "none", data=data)
    assert outcome.code == 0, outcome.err
    losses = [one["loss"] for one in json.loads((out / "history.json").read_text()) if "loss" in one]
    assert losses == [0.0, 0.0]
    assert "no labelled pixel" in outcome.err


@pytest.fixture
def broken(tmp_path):
    data = write_scenes(tmp_path / "broken", train=4, val=1)
    (data / "train" / "images" / "0002.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    return data


@pytest.mark.slow
def test_an_unreadable_image_is_named_and_the_training_goes_on_once_it_is_mended(train, broken, tmp_path):
    outcome, out = train("--epochs", 1, "--steps", 4, data=broken)
    assert outcome.code == 2  # contradicting options
    outcome, out = train("--steps", 6, "--save-every", 1, "--workers", 1, data=broken)
    assert outcome.code == 2
    assert "0002.png" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (out / "config.json").exists()
    outcome, out = train("--steps", 6, "--skip-bad", "--overwrite", data=broken)
    assert outcome.code == 0, outcome.err


def test_a_mask_of_another_size(train, tmp_path):
    data = write_scenes(tmp_path / "sizes", train=4, val=1)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(data / "train" / "masks" / "0001.png")
    outcome, _ = train("--steps", 4, data=data)
    assert outcome.code == 2
    assert "0001.png is 8x8 but its image is 64x96" in outcome.err


def test_one_class_only(train, tmp_path):
    data = write_scenes(tmp_path / "one", train=4, val=1)
    (data / "classes.txt").write_text("road\n")
    outcome, _ = train(data=data)
    assert outcome.code == 2
    assert "one class only (road)" in outcome.err


@pytest.mark.slow
def test_a_full_disk_is_said_and_resumed_from(scenes_folder, architecture, unbroken, tmp_path):
    """Files of more than 100 kB cannot be written: the weights fit, the optimizer's state does not."""
    out = tmp_path / "out"
    start = command(scenes_folder, architecture, out, *RECIPE, "--resume")
    limited = ["bash", "-c", 'ulimit -f 100; trap "" XFSZ; exec "$@"', "bash", *start]
    failed = subprocess.run(limited, env=ONE_THREAD, capture_output=True, text=True, timeout=300, check=False)
    assert failed.returncode == 2, failed.stderr
    assert "could not be saved" in failed.stderr
    assert "--resume" in failed.stderr
    assert not list(out.glob("checkpoint-*"))
    subprocess.run(start, env=ONE_THREAD, check=True, capture_output=True, timeout=300)
    assert weights(out) == weights(unbroken)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--minutes", 1), "pass one of them"),
        (("--accumulate", 4), "--accumulate"),
        (("--scales", "2"), "--scales"),
        (("--val-fraction", 2), "--val-fraction"),
        (("--autocast", "fp16"), "GPU"),
        (("--classes", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_options_that_cannot_be(train, more, said):
    import torch

    if said == "GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    outcome, out = train(*more)
    assert outcome.code == 2
    assert said in outcome.err
    assert not (out / "training.json").exists()
