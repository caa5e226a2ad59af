"""Trainings small enough for tests, started as a user starts them."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segexport import scenes
from segexport.finetuning.recipe import FROM_RANDOM
from segexport.finetuning.run import Trained, finetune
from tests.support.checkpoints import SIZE

CONFIG = {
    "model_type": "segformer",
    "architectures": ["SegformerForSemanticSegmentation"],
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 16,
}


def write_scenes(folder: Path, train: int = 8, val: int = 2) -> Path:
    """`folder` with splits train and val, and classes.txt."""
    scenes.write_dataset(folder / "train", train, seed=scenes.TRAIN_SEED, size=SIZE)
    scenes.write_dataset(folder / "val", val, seed=scenes.VALIDATION_SEED, size=SIZE)
    (folder / "classes.txt").write_text("\n".join(scenes.LABELS) + "\n")
    return folder


def write_architecture(folder: Path, **changes: Any) -> Path:
    """A checkpoint folder without weights, for --random-init."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return folder


def command(data: Path, architecture: Path, out: Path, *more: object, processes: int = 1) -> list[str]:
    """`segexport finetune`, by torchrun where there are several processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    start = ["-m", "segexport", "finetune", "--random-init", "--model", architecture, "--data", data, "--out", out]
    return [sys.executable, *(launcher if processes > 1 else []), *map(str, start), *map(str, more)]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def python(data: Path, architecture: Path, out: Path, **more: Any) -> Trained:
    """A training of 24 steps in this process, on one thread: sums of more round otherwise."""
    import torch

    recipe = dataclasses.replace(FROM_RANDOM, steps=24, batch=2, ema=0.9)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return finetune(
            data, out, model=str(architecture), random_init=True, recipe=recipe, evaluations=3, save_every=3, **more
        )
    finally:
        torch.set_num_threads(threads)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


class Stop(BaseException):
    """Ends a training from outside, as Ctrl-C does."""


def stop_at(step: int) -> Callable[[float, str], None]:
    """Called with progress, it stops at `step`."""

    def told(share: float, text: str) -> None:
        if text.startswith(f"step {step},"):
            raise Stop

    return told
