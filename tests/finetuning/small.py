"""A network small enough to train in seconds, and a few generated scenes to train it on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from segexport import scenes

SIZE = (64, 96)
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


def write_architecture(folder: Path, **changes) -> Path:
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
