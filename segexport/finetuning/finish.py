"""The end of a training: its best weights as a checkpoint, scored on every validation image, with a card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport.datasets import LabelledImages
from segexport.evaluation.bootstrap import ImageCounts, Interval, miou_interval
from segexport.evaluation.groups import FEWEST
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.subject import open_subject
from segexport.files import write_file, write_json
from segexport.finetuning import card, keeping
from segexport.spec import Labels, to_json

METRICS = "metrics.json"
HISTORY = "history.json"


@dataclass(frozen=True)
class Score:
    """Of a finished checkpoint on its validation images, as `segexport evaluate` scores it: fractions.

    `step` is the one whose weights these are, of the `steps` that were trained. Of fewer than `FEWEST` images `miou`
    has no interval: they are too few to draw from.
    """

    images: int
    step: int
    steps: int
    miou: Interval
    pixel_accuracy: float
    iou: dict[str, float | None]


def finish(
    out: Path,
    labels: Labels,
    validation: LabelledImages,
    processor: Any,
    settings: dict[str, Any],
    steps: int,
    history: Sequence[dict[str, Any]],
    say: Callable[[str], None],
    told: keeping.Told,
) -> Score | None:
    """Make `out` a checkpoint: weights last but for the card, so that a half-made one is none.

    Args:
        out: the training's folder.
        labels: its classes.
        validation: the images to score the best weights on.
        processor: to be saved with them.
        settings: of the training, for its card.
        steps: that were trained.
        history: what was logged.
        say: called with what is done.
        told: called with each image that is scored.

    Returns:
        The score; None where no validation was reached, which leaves `out` a training to resume.
    """
    found = keeping.best(out)
    if found is None:
        return None
    folder, metrics = found
    processor.save_pretrained(out)
    for path in sorted(folder.iterdir()):
        if path.name != keeping.METRICS:
            shutil.copyfile(path, out / path.name)
    say(f"scoring the best weights (step {metrics['step']:.0f}) on {len(validation)} images")
    score = _score(out, labels, validation, int(metrics["step"]), steps, told)
    write_json(out / METRICS, to_json(score))
    write_json(out / HISTORY, list(history))
    write_file(out / "README.md", card.text(settings, labels, score).encode())
    keeping.clear(out)
    return score


def _score(out: Path, labels: Labels, validation: LabelledImages, step: int, steps: int, told: keeping.Told) -> Score:
    counts = ImageCounts(len(labels))
    with open_subject(out, Protocol()) as subject:
        for index in range(len(validation)):
            sample = validation.sample(index)
            assert sample.mask is not None
            counts.update(sample.mask, subject.segment(sample.image))
            told(1.0, f"scoring image {index + 1} of {len(validation)}")
    iou = {
        name: None if value != value else float(value) for name, value in zip(labels.names, counts.iou(), strict=True)
    }
    enough = len(validation) >= FEWEST
    miou = miou_interval(counts) if enough else Interval(counts.miou(), None, None)
    return Score(len(validation), step, steps, miou, counts.pixel_accuracy(), iou)
