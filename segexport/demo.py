"""The whole way on generated scenes: train, export, build, benchmark. Downloads no model and no data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np

from segexport import scenes
from segexport.assembly import Progress
from segexport.bench import Result, benchmark
from segexport.builder import build
from segexport.bundle import Bundle
from segexport.engines import infos
from segexport.errors import EngineUnavailable, OutputError
from segexport.files import write_file
from segexport.finetuning.recipe import FROM_RANDOM
from segexport.finetuning.run import Trained, finetune
from segexport.images import encode_png, overlay
from segexport.rebuilder import rebuild
from segexport.segmenter import open_segmenter
from segexport.spec import Size

SIZE = (256, 320)
TRAINING_IMAGES, VALIDATION_IMAGES = 240, 40

_ARCHITECTURE = {
    "model_type": "segformer",
    "architectures": ["SegformerForSemanticSegmentation"],
    "depths": [1, 1, 2, 1],
    "hidden_sizes": [32, 64, 96, 128],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 64,
}
"""Shallower and narrower than B0 for speed alone: B0 takes about four times as long for a picture."""

RECIPE = dataclasses.replace(
    FROM_RANDOM,
    batch=2,
    learning_rate=3e-3,
    # Two minutes underfit: what regularises would only slow the start. Whole pictures rather than crops: a network
    # trained on crops took the road for something else in whole ones.
    scales=(1.0, 1.0),
    jitter=False,
    drop_path=0.0,
    dropout=0.0,
    ema=None,
    coarse=0.6,
)
"""Found by trials of two minutes on two cores."""
PICTURE_SEED = scenes.VALIDATION_SEED + 7
MARKER = "segexport-demo.txt"


def run(out: Path, *, seconds: float = 120, overwrite: bool = False, progress: Progress = lambda step: None) -> Result:
    """Train for `seconds`, build for every engine that can run here, and benchmark on scenes never trained on.

    Args:
        out: gets `data/`, `checkpoint/`, `bundles/ENGINE/` and `picture.png` (image, class map, overlay).
        seconds: time to train for.
        overwrite: replace an earlier demo at `out`.
        progress: told the name of each step as it starts.

    Raises:
        EngineUnavailable: PyTorch, or every engine, is missing.
        OutputError: `out` exists and `overwrite` is off, or the disk is full.
    """
    engines = [i for i in infos() if i.builds and i.devices]
    if not engines:
        raise EngineUnavailable('no engine is installed: pip install "segexport[cpu,openvino]"')
    _clear(out, overwrite)
    progress("drawing scenes")
    data = _draw(out / "data", TRAINING_IMAGES, VALIDATION_IMAGES, SIZE)
    checkpoint = train(data, out / "checkpoint", seconds, progress).folder
    bundles: list[Bundle] = []
    for engine in engines:
        target = out / "bundles" / engine.name
        if bundles:
            bundles.append(rebuild(bundles[0], target, engine=engine.name, progress=progress))
        else:
            bundles.append(build(checkpoint, target, engine=engine.name, size=SIZE, progress=progress))
    progress("benchmarking")
    result = benchmark(
        bundles, data / "val", progress=lambda done, total: progress(f"benchmarking: call {done} of {total}")
    )
    _picture(out / "picture.png", bundles[0])
    return result


def train(data: Path, out: Path, seconds: float, progress: Progress) -> Trained:
    """Train the demo's network on the scenes of `data` for `seconds`, into the folder `out`."""
    architecture = out.parent / "architecture"
    write_file(architecture / "config.json", (json.dumps(_ARCHITECTURE) + "\n").encode())
    return finetune(
        data,
        out,
        model=str(architecture),
        random_init=True,
        recipe=dataclasses.replace(RECIPE, minutes=seconds / 60),
        evaluations=1,
        told=lambda share, text: progress(f"training on scenes: {share:.0%}, {text}"),
    )


def _draw(folder: Path, train: int, val: int, size: Size) -> Path:
    scenes.write_dataset(folder / "train", train, seed=scenes.TRAIN_SEED, size=size)
    scenes.write_dataset(folder / "val", val, seed=scenes.VALIDATION_SEED, size=size)
    write_file(folder / "classes.txt", ("\n".join(scenes.LABELS) + "\n").encode())
    return folder


def _clear(out: Path, overwrite: bool) -> None:
    """Make `out` an empty folder with the demo's marker; only a folder with that marker is ever replaced."""
    if out.exists():
        if not overwrite:
            raise OutputError(f"{out} exists: pass --overwrite to replace it, or another --out")
        if not (out / MARKER).exists():
            raise OutputError(f"{out} exists and is no demo of segexport's, so it is left alone: pass another --out")
        shutil.rmtree(out)
    write_file(out / MARKER, b"Made by `segexport demo`; may be deleted.\n")


def _picture(path: Path, bundle: Bundle) -> None:
    """Image, class map and overlay of one scene, side by side."""
    image, _ = scenes.scene(PICTURE_SEED, SIZE)
    with open_segmenter(bundle) as net:
        found = net.run(image, channel_order="rgb")
    colours = overlay(image, found.mask, net.labels.palette, opacity=1.0)
    write_file(path, encode_png(np.hstack([image, colours, found.overlay()])))
