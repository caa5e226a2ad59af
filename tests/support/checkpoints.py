"""Checkpoint folders of any structure, written without torch; their weights are random, and large enough to matter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from segexport.segformer import Structure, parameters

Tensors = dict[str, npt.NDArray[np.float32]]

TINY = Structure(
    depths=(1, 2, 1, 1),
    widths=(8, 16, 24, 32),
    heads=(1, 2, 3, 4),
    reductions=(8, 4, 2, 1),
    mlp_ratios=(4, 4, 4, 4),
    patches=(7, 3, 3, 3),
    head="segmentation",
    decoder=16,
    classes=10,
)


def spread(structure: Structure, seed: int = 0) -> Tensors:
    """Weights whose logits differ from class to class and place to place; BatchNorm's statistics are moved."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in parameters(structure).items():
        noise = generator.standard_normal(shape, np.float32)
        if len(shape) > 1:
            found[name] = noise / np.float32(math.sqrt(math.prod(shape[1:])))
        elif name.endswith("running_var"):
            found[name] = np.abs(noise) + np.float32(0.5)
        elif name.endswith(".weight"):
            found[name] = 1 + np.float32(0.1) * noise
        else:
            found[name] = np.float32(0.1) * noise
    return found


def write_checkpoint(
    folder: Path, structure: Structure = TINY, *, seed: int = 0, change: Callable[[Tensors], Tensors] = lambda t: t
) -> Path:
    """A folder in Hugging Face layout with `spread` weights, changed by `change`."""
    folder.mkdir(parents=True)
    names = [f"class {i}" for i in range(structure.classes or 0)]
    (folder / "config.json").write_text(json.dumps(structure.config(names)))
    save_file(change(spread(structure, seed)), folder / "model.safetensors", metadata={"format": "pt"})
    processor = {"image_processor_type": "SegformerImageProcessor", "size": {"height": 64, "width": 96}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
