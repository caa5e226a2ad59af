"""The whole way on generated scenes: train, export, build, benchmark. Downloads no model and no data."""

from __future__ import annotations

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
from segexport.finetune.demo import train_on_scenes
from segexport.images import encode_png, overlay
from segexport.rebuilder import rebuild
from segexport.segmenter import open_segmenter

SIZE = (256, 320)
VALIDATION_IMAGES = 40
PICTURE_SEED = scenes.VALIDATION_SEED + 7
MARKER = "segexport-demo.txt"


def run(out: Path, *, seconds: float = 120, overwrite: bool = False, progress: Progress = lambda step: None) -> Result:
    """Train for `seconds`, build for every engine that can run here, and benchmark on scenes never trained on.

    Args:
        out: gets `checkpoint/`, `data/`, `bundles/ENGINE/` and `picture.png` (image, class map, overlay).
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
    progress("generating validation scenes")
    data = scenes.write_dataset(out / "data", VALIDATION_IMAGES, seed=scenes.VALIDATION_SEED, size=SIZE)
    checkpoint = train_on_scenes(
        out / "checkpoint",
        seconds=seconds,
        size=SIZE,
        on_progress=lambda share, text: progress(f"training on generated scenes: {share:.0%}, {text}"),
    )
    bundles: list[Bundle] = []
    for engine in engines:
        target = out / "bundles" / engine.name
        if bundles:
            bundles.append(rebuild(bundles[0], target, engine=engine.name, progress=progress))
        else:
            bundles.append(build(checkpoint, target, engine=engine.name, size=SIZE, progress=progress))
    progress("benchmarking")
    result = benchmark(bundles, data, progress=lambda done, total: progress(f"benchmarking: call {done} of {total}"))
    _picture(out / "picture.png", bundles[0])
    return result


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
        found = net.run(net.from_rgb(image))
    assert found.mask is not None
    colours = overlay(image, found.mask, net.labels.palette, opacity=1.0)
    write_file(path, encode_png(np.hstack([image, colours, found.overlay(image)])))
