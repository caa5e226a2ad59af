"""What every contender's class maps are worth on whole data sets; nothing here is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from segexport.datasets import Sample
from segexport.evaluation.bootstrap import ImageCounts, Interval, paired_miou
from segexport.evaluation.metrics import Agreement
from segexport.images import UInt8


@dataclass(frozen=True)
class Score:
    """A contender on one data set, and beside the baseline: fractions, None for the baseline itself or without it."""

    images: int
    miou: float
    change: Interval | None
    """Of the mIoU, with its 95 % interval over images."""
    agreement: float | None
    """Share of pixels with the baseline's class."""


@dataclass
class Tally:
    """One contender's class maps of one data set, counted image by image."""

    counts: ImageCounts
    agreement: Agreement = field(default_factory=Agreement)

    def add(self, found: UInt8, sample: Sample, wanted: UInt8 | None) -> None:
        """Count one image; `wanted` is the baseline's class map."""
        assert sample.mask is not None
        self.counts.update(sample.mask, np.minimum(found, self.counts.classes - 1))
        if wanted is not None:
            self.agreement.update(found, wanted)

    def score(self, baseline: Tally | None) -> Score:
        """What it comes to beside the baseline."""
        images, miou = len(self.counts), self.counts.miou()
        if baseline is None or baseline is self:
            return Score(images, miou, None, None)
        return Score(images, miou, paired_miou(self.counts, baseline.counts), self.agreement.share())


def score(
    contenders: Sequence[str],
    baseline: str,
    samples: Iterable[Sample],
    classes: int,
    decide: Callable[[str, UInt8], UInt8 | None],
) -> dict[str, Score]:
    """Everybody on every image.

    Args:
        contenders: names.
        baseline: the one that others are held against, if it is among them.
        samples: images with masks.
        classes: of the network.
        decide: a contender's class map of an image; None where it failed, and then it has no score.
    """
    tallies = {name: Tally(ImageCounts(classes)) for name in contenders}
    for sample in samples:
        maps = {name: decide(name, sample.image) for name in tallies}
        tallies = {name: tally for name, tally in tallies.items() if maps[name] is not None}
        for name, tally in tallies.items():
            found = maps[name]
            assert found is not None
            tally.add(found, sample, maps.get(baseline))
    return {name: tally.score(tallies.get(baseline)) for name, tally in tallies.items()}


def baseline_of(ours: Mapping[str, str]) -> str:
    """The first in fp32 of segexport's own, given by name with their precisions; none of them is no name."""
    return next((name for name, precision in ours.items() if precision == "fp32"), "")
