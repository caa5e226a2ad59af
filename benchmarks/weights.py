"""A case's checkpoint and images. Weights derived from somebody else's are written to temporary folders alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from benchmarks import process
from benchmarks.cases import CALIBRATION, SAMPLES, SCORED, SEED, Case
from segexport.checkpoint import load
from segexport.datasets import Sample, open_data
from segexport.images import resize_image, resize_nearest

_SEED = 0
_BILINEAR = 2  # Pillow's number
_LOWER = 0.1
"""How much lower each copy's bias is than the last one's."""
_NOISE = 1e-3
"""Standard deviation of a copy's noise, as a share of the trained weights' own."""
_HEAD = "decode_head.classifier"

_MODELS: dict[str, dict[str, Any]] = {
    "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
    "b5": {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
}
"""Where they differ from B0: Xie et al. 2021, arXiv:2105.15203, table 6."""

Float = npt.NDArray[np.float32]


def checkpoint(case: Case, folder: Path, threads: int) -> Path:
    """The case's checkpoint: the trained one itself, or one written below `folder`.

    Raises:
        WorkerFailed: random weights could not be made.
    """
    if case.weights in ("trained", "own"):
        return case.checkpoint
    folder.mkdir(parents=True)
    if case.weights == "derived":
        _derive(case, folder)
    else:
        request = {"config": _config(case), "checkpoint": str(folder), "seed": _SEED}
        process.prepare("random_checkpoint.py", "huggingface", threads, folder / "log", request)
    _write_processor(case, folder)
    return folder


def images(case: Case) -> list[Sample]:
    """As many images as the case has calls, spread over the data, in the case's size so that nobody resizes.

    Raises:
        DataError: the images or masks cannot be used.
    """
    data = open_data(case.data, load(case.checkpoint).labels, need_masks=case.weights == "trained")
    count = min(case.calls, len(data))
    picked = [data.sample(round(i)) for i in np.linspace(0, len(data) - 1, count)]
    return [_in_size(sample, case) for sample in picked]


def scored_on(case: Case) -> dict[str, list[Sample]]:
    """Every image of the sets that a table of precisions is scored on, in the case's size.

    Raises:
        DataError: the images or masks cannot be used.
    """
    labels = load(case.checkpoint).labels
    sets = {name: open_data(path, labels) for name, path in SCORED.items()}
    return {name: [_in_size(data.sample(i), case) for i in range(len(data))] for name, data in sets.items()}


def calibration(case: Case, folder: Path) -> dict[str, Any]:
    """What contenders that calibrate are told: where images are, and which; the same for everybody.

    Raises:
        DataError: the images cannot be used.
    """
    data = open_data(CALIBRATION, load(case.checkpoint).labels, need_masks=False)
    samples = min(SAMPLES, len(data))
    images = [_in_size(data.sample(i), case).image for i in drawn(len(data), samples)]
    path = folder / "calibration.npy"
    np.save(path, np.stack(images))
    return {"images": str(path), "data": str(CALIBRATION), "samples": samples, "seed": SEED}


def drawn(count: int, samples: int) -> list[int]:
    """The images of `count` that `segexport calibrate` takes."""
    return sorted(int(index) for index in np.random.default_rng(SEED).permutation(count)[:samples])


def derived_head(weight: Float, bias: Float, labels: int) -> tuple[Float, Float]:
    """A classifier of more labels: the trained rows again and again, copies with a lower bias and a little noise.

    Args:
        weight: [classes, channels, 1, 1] of the trained classifier.
        bias: [classes].
        labels: rows of the new one; row i is a copy of row i modulo classes.
    """
    classes = len(weight)
    rng = np.random.default_rng(_SEED)
    rows, copies = np.arange(labels) % classes, np.arange(labels) // classes
    noise = rng.standard_normal((labels, *weight.shape[1:])).astype(np.float32) * (_NOISE * weight.std())
    noise[copies == 0] = 0
    return weight[rows] + noise, (bias[rows] - _LOWER * copies).astype(np.float32)


def _derive(case: Case, folder: Path) -> None:
    tensors = load_file(case.checkpoint / "model.safetensors")
    weight, bias = derived_head(tensors[f"{_HEAD}.weight"], tensors[f"{_HEAD}.bias"], case.labels)
    tensors |= {f"{_HEAD}.weight": weight, f"{_HEAD}.bias": bias}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((case.checkpoint / "config.json").read_text(encoding="utf-8"))
    config |= _labels(case.labels)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _config(case: Case) -> dict[str, Any]:
    return {**_MODELS[case.model], **_labels(case.labels)}


def _labels(count: int) -> dict[str, dict[Any, Any]]:
    names = [f"class {i}" for i in range(count)]
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def _write_processor(case: Case, folder: Path) -> None:
    height, width = case.size
    content = {
        "image_processor_type": "SegformerImageProcessor",
        "do_resize": False,
        "do_reduce_labels": False,
        "size": {"height": height, "width": width},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def _in_size(sample: Sample, case: Case) -> Sample:
    image = np.ascontiguousarray(resize_image(sample.image, case.size, _BILINEAR))
    scored = case.is_scored and sample.mask is not None
    return Sample(sample.name, image, resize_nearest(sample.mask, case.size) if scored else None)
