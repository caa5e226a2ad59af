"""What an evaluation found, as data. JSON Schema: `segexport/data/evaluation.schema.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from segexport.evaluation.bootstrap import Interval
from segexport.spec import to_json

SCHEMA = 1


@dataclass(frozen=True)
class ClassFigures:
    """One class: IoU, share of its pixels that were found, boundary IoU; `pixels` of the truth are its own."""

    name: str
    pixels: int
    iou: Interval
    accuracy: Interval
    boundary_iou: Interval | None


@dataclass(frozen=True)
class Confused:
    """Pixels of class `truth` that were taken for `predicted`, and their share of all of `truth`."""

    truth: str
    predicted: str
    pixels: int
    share: float


@dataclass(frozen=True)
class Figures:
    """What one subject scored, fractions with 95 % intervals, NaN where no pixel was counted.

    `confusion` is the whole matrix, rows are ground truth; `confusions` its largest entries beside the diagonal.
    """

    miou: Interval
    mean_accuracy: Interval
    pixel_accuracy: Interval
    boundary_miou: Interval | None
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    confusions: tuple[Confused, ...]


@dataclass(frozen=True)
class Evaluated:
    """A subject: what it is, and its figures; None with random weights, where accuracy means nothing."""

    name: str
    facts: dict[str, Any]
    figures: Figures | None


@dataclass(frozen=True)
class Difference:
    """`subject` minus `against`, on the same images and with intervals from the same draws of them."""

    subject: str
    against: str
    miou: Interval
    mean_accuracy: Interval
    pixel_accuracy: Interval
    boundary_miou: Interval | None
    classes: dict[str, Interval]


@dataclass(frozen=True)
class GroupScore:
    """One subject in one group; None with random weights."""

    subject: str
    miou: Interval | None
    classes: dict[str, float] | None


@dataclass(frozen=True)
class GroupFigures:
    """The images (or rows of all images) that have something in common. `few`: too few images to rely on."""

    by: str
    group: str
    images: int
    few: bool
    subjects: tuple[GroupScore, ...]


@dataclass(frozen=True)
class Degradation:
    """One subject under a corruption: `severity` None is the mean over the severities asked for.

    `degradation` is 1 - mIoU / clean mIoU. Beside PyTorch with the same weights: `difference` is its mIoU minus
    PyTorch's, `degradation_change` its degradation minus PyTorch's. `corruption_degradation` (of the means alone) is
    the sum of 1 - mIoU over the severities, over PyTorch's (Kamann and Rother 2020). A `corruption` of None is the mean
    over all of them.
    """

    subject: str
    corruption: str | None
    severity: int | None
    miou: Interval
    degradation: Interval
    against: str | None = None
    difference: Interval | None = None
    degradation_change: Interval | None = None
    corruption_degradation: float | None = None


@dataclass(frozen=True)
class Robustness:
    """Every condition's figures, each corruption's and the whole's, and what they say in sentences."""

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    conditions: tuple[Degradation, ...]
    means: tuple[Degradation, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used and was left out."""

    index: int
    why: str


@dataclass(frozen=True)
class Missing:
    """A shard that is not done, by its number, and how many of its images are not."""

    shard: str
    images: int


@dataclass(frozen=True)
class Evaluation:
    """All of it. While a shard is missing there are no figures, and `subjects` is empty, unless it was stopped.

    `images` are those the figures are of: all of the data but those `skipped`, and those `missing`.
    """

    folder: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    images: int
    skipped: tuple[Skipped, ...]
    missing: tuple[Missing, ...]
    subjects: tuple[Evaluated, ...] = ()
    differences: tuple[Difference, ...] = ()
    groups: tuple[GroupFigures, ...] = ()
    robustness: Robustness | None = None
    done_before: int = 0
    """Images that this call found done. Not part of the JSON: it says nothing of the result."""

    @property
    def complete(self) -> bool:
        """Whether every shard is done, so that the figures are of all images."""
        return not self.missing

    @property
    def progress(self) -> str:
        """How many images are done, bad ones included, of how many: "12 of 101 images"."""
        total = self.settings["data"]["images"]
        return f"{total - sum(one.images for one in self.missing)} of {total} images"

    def to_json(self) -> dict[str, Any]:
        """Plain values for `evaluate --json`; NaN never appears. The same whatever the shards and interruptions."""
        content = _plain({"schema": SCHEMA, **to_json(self)})
        for key in ("folder", "done_before"):
            del content[key]
        return dict(content)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(to_json(entry)) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(to_json(entry)) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
