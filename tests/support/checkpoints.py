"""Checkpoint folders with random weights that are large enough to matter: written without torch, or by transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from segexport import scenes
from segexport.segformer import Structure, parameters

Tensors = dict[str, npt.NDArray[np.float32]]
SIZE = (64, 96)
"""What the processors of all of them resize to."""

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
    return write_processor(folder)


def write_processor(folder: Path) -> Path:
    """Put a processor for images of SIZE into a checkpoint's folder."""
    processor = {"image_processor_type": "SegformerImageProcessor", "size": {"height": SIZE[0], "width": SIZE[1]}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def save_checkpoint(
    folder: Path, *, classes: int = len(scenes.LABELS), kind: str = "segmentation", **config: Any
) -> Path:
    """A small SegFormer saved by transformers with random weights, whose masks show many classes."""
    import torch
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

    names = scenes.LABELS if classes == len(scenes.LABELS) else [f"class {i}" for i in range(classes)]
    settings = SegformerConfig(
        **{
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 24, 32],
            "num_attention_heads": [1, 2, 3, 4],
            "decoder_hidden_size": 16,
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
            **config,
        }
    )
    torch.manual_seed(0)
    model_class = SegformerForSemanticSegmentation if kind == "segmentation" else SegformerForImageClassification
    model = model_class(settings)
    spread_weights(model)
    model.save_pretrained(folder)
    return write_processor(folder)


def spread_weights(model: Any) -> None:
    """Random weights large enough to matter, and BatchNorm statistics moved by a few training-mode passes."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.train()
        for _ in range(3):
            model(pixel_values=torch.randn(2, 3, 64, 64))
    model.eval()
