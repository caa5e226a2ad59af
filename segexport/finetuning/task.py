"""What is trained on what: images, their split, classes and sizes, and what is said of them before anything trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexport import __version__, machine
from segexport.datasets import LabelledImages, Subset, open_data, splits_of
from segexport.datasets.label_sets import labels_of
from segexport.datasets.layout import family
from segexport.datasets.summary import DataSummary, summarise
from segexport.errors import ContractError, DataError
from segexport.finetuning.recipe import PAPER_STEPS, Recipe, counted
from segexport.finetuning.sizes import Sizes, choose_sizes
from segexport.finetuning.start import Start
from segexport.spec import Labels, Size, format_size, to_json

_VAL_FRACTION = 0.1
_SEED_OF_SPLIT = 7


@dataclass(frozen=True)
class Task:
    """What is trained on what: all that a resumed training must have in common with the one it goes on with."""

    images: LabelledImages
    validation: LabelledImages
    labels: Labels
    summary: DataSummary
    recipe: Recipe
    sizes: Sizes


def read_labels(data: Path, classes: Path | None) -> Labels:
    """The classes to train.

    Raises:
        DataError: no names are known, or there is nothing to tell apart.
    """
    labels = labels_of(data, classes)
    if len(labels) < 2:
        raise DataError(f"{data} has one class only ({labels.names[0]}): name at least one more, such as background")
    return labels


def read_images(
    data: Path, labels: Labels, val: Path | None, val_fraction: float | None, limit: int | None, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Images to train on and images to validate on: `val`, else the data's own split, else some put by.

    Raises:
        ContractError: both `val` and `val_fraction`, or a fraction outside 0 to 1.
        DataError: no images, or too few to put any by.
    """
    if val is not None and val_fraction is not None:
        raise ContractError("--val names the images to validate on, --val-fraction puts some by: pass one of them")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ContractError(f"--val-fraction {val_fraction} puts by no share of the images: pass one between 0 and 1")
    splits = {family(name): name for name in reversed(splits_of(data))}
    images = open_data(data, labels, split=splits.get("train"), limit=limit)
    if val is not None:
        names = {family(name): name for name in reversed(splits_of(val))}
        return images, open_data(val, labels, split=names.get("val"))
    if val_fraction is None and "train" in splits and "val" in splits:
        return images, open_data(data, labels, split=splits["val"])
    if len(images) < 2:
        raise DataError(f"{data} has one image: there is none left to validate on; pass --val")
    put_by = max(1, round(len(images) * (val_fraction or _VAL_FRACTION)))
    order = np.random.default_rng((seed, _SEED_OF_SPLIT)).permutation(len(images)).tolist()
    return (
        Subset(images, sorted(order[put_by:]), f"{len(images) - put_by} of {len(images)}"),
        Subset(images, sorted(order[:put_by]), f"{put_by} of {len(images)}, put by"),
    )


def make_task(
    images: LabelledImages,
    validation: LabelledImages,
    labels: Labels,
    begun: Start,
    recipe: Recipe,
    size: Size | None,
    crop: Size | None,
) -> Task:
    """Look at the images, and choose sizes.

    Raises:
        DataError: none of the images looked at can be used.
    """
    summary = summarise(images, labels)
    if not summary.sizes:
        raise DataError(f"none of the images of {images.name} can be read: segexport doctor {images.name} says why")
    counted = {(one.height, one.width): one.images for one in summary.sizes}
    sizes = choose_sizes(counted, begun.preprocessing.size, size, crop, step=math.prod(begun.model.config.strides))
    return Task(images, validation, labels, summary, recipe, sizes)


def settings_of(task: Task, begun: Start) -> dict[str, Any]:
    """What training.json holds: a training goes on only with what it began with."""
    return {
        "data": {"train": _facts(task.images), "val": _facts(task.validation)},
        "labels": to_json(task.labels),
        "start": {
            "model": begun.source.id,
            "sha256": begun.source.weights_sha256,
            "random": begun.source.random_weights,
            "report": list(begun.report),
        },
        "recipe": to_json(task.recipe),
        "sizes": to_json(task.sizes),
        "versions": {"segexport": __version__, **machine.versions()},
    }


def introduction(task: Task, begun: Start, autocast: str) -> Iterator[str]:
    """Lines to read before anything trains."""
    yield from begun.report
    sizes, recipe = task.sizes, task.recipe
    yield f"validation on {len(task.validation)} images of {task.validation.name}"
    yield (
        f"crops of {format_size(sizes.crop)} from images of shorter side {sizes.short_side}, resized by "
        f"{recipe.scales[0]:g} to {recipe.scales[1]:g}; network {format_size(sizes.network)}"
    )
    length, passes = counted(recipe.steps, "step"), f" ({recipe.steps * recipe.batch / len(task.images):.0f} passes)"
    if recipe.minutes is not None:
        length, passes = counted(recipe.minutes, "minute"), ""
    yield (
        f"{length} of batch {recipe.batch}{passes}, rate {recipe.learning_rate:g} "
        f"(head x{recipe.head_factor:g}), autocast {autocast}"
    )
    if recipe.minutes is None and recipe.steps == PAPER_STEPS:
        yield f"{length} are the paper's length: --steps, --epochs or --minutes set another"


def class_weights(task: Task) -> Any:
    """1/sqrt(share of the labelled pixels) of each class, at most ten times the mean, float32 [classes], mean 1.

    A class without pixels weighs as much as the rarest that has some.
    """
    import torch

    shares = np.array([one.share for one in task.summary.classes])
    weights = 1 / np.sqrt(np.maximum(shares, shares[shares > 0].min()))
    weights = np.minimum(weights, 10 * weights.mean())
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _facts(images: LabelledImages) -> dict[str, Any]:
    return {"name": images.name, "images": len(images), "sha256": images.sha256()}
