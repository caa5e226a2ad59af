"""What a contender did, and the row of figures that comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segexport.bench.process import ContenderProcess
from segexport.bench.result import REFERENCE_ENGINE, Comparison, Row, coarseness, percentiles, spread_doubt
from segexport.bench.verdict import verdicts
from segexport.bundle import Manifest
from segexport.datasets import Sample
from segexport.decision import Decision
from segexport.evaluation.bootstrap import ImageCounts, IouChange, miou_interval, paired_iou, paired_ratio
from segexport.evaluation.metrics import Agreement, Floats
from segexport.spec import Size, format_size

LOST_SHARE = 0.5
"""A class is lost when its IoU falls below this share of what it was, ..."""

LEAST_IOU = 0.02
"""... if it was more than this: less was never seen."""


@dataclass
class Contender:
    """A contender's process, what it is compared with, and what it has done so far."""

    name: str
    precision: str
    size: Size
    image_size: Size
    """What it is given without a resize by Pillow: the network's size, or the one its graph resizes from."""
    process: ContenderProcess
    counts: ImageCounts
    reference: str | None = None
    """The name of the contender that its agreement is with."""
    batch: int = 1
    """Images in a call."""
    notes: list[str] = field(default_factory=list)
    resized: set[Size] = field(default_factory=set)
    """Sizes of images that were not `image_size`."""
    facts: dict[str, Any] = field(default_factory=dict)
    whole: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    shown: list[Size] = field(default_factory=list)
    """The size of each call's image."""
    agreements: dict[str, Agreement] = field(default_factory=dict)
    """By the name of the contender it is compared with, of the same network size."""
    peak_memory: int = 0
    throughput: float | None = None
    """Images a second with several callers at once, where that was measured."""

    @property
    def is_reference(self) -> bool:
        """Whether this is PyTorch, and no bundle."""
        return bool(self.facts["engine"] == REFERENCE_ENGINE)


def compared_with(contender: Contender, contenders: Sequence[Contender]) -> list[Contender]:
    """What its agreement is with, then the run's other bundles of higher precision."""
    if contender.is_reference:
        return []
    finer = coarseness(contender.precision)
    first = [c for c in contenders if c.name == contender.reference]
    others = [c for c in contenders if not c.is_reference and coarseness(c.precision) < finer]
    return [*first, *(c for c in others if c not in first)]


def score(contenders: Sequence[Contender], decisions: Mapping[str, Decision], sample: Sample) -> None:
    """Count what every contender decided for one image, given by contender's name."""
    size = (sample.image.shape[0], sample.image.shape[1])
    for contender in contenders:
        found = decisions[contender.name]
        if sample.mask is not None and found.ndim == 2:
            contender.counts.update(sample.mask, found)
        # Of classes, the best one counts; of class maps, every pixel.
        best = slice(0, 1) if found.ndim == 1 else slice(None)
        for other in compared_with(contender, contenders):
            if other.size == contender.size:
                agreement = contender.agreements.setdefault(other.name, Agreement())
                agreement.update(found[best], decisions[other.name][best])
        if size != contender.image_size:
            contender.resized.add(size)


def rows(contenders: Sequence[Contender], first: Manifest, *, concurrency: int = 1, busy: str = "") -> tuple[Row, ...]:
    """The row of every contender that was called, verdict included.

    Args:
        contenders: of one run, with what they did.
        first: the manifest of one of the bundles.
        concurrency: callers that the throughput is of.
        busy: what makes all the figures doubtful; see `segexport.bench.busy.doubt`.
    """
    called = [contender for contender in contenders if contender.whole]
    found = [_row(contender, called, first, concurrency) for contender in called]
    what = "images" if first.contract.mask_size is None else "pixels"
    images = len(called[0].counts) if called else 0
    said = verdicts(found, random_weights=first.source.random_weights, what=what, images=images, busy=busy)
    return tuple(dataclasses.replace(row, verdict=text) for row, text in zip(found, said, strict=True))


def lost_classes(names: Sequence[str], iou: Floats, before: Floats, change: IouChange) -> tuple[str, ...]:
    """Names of the classes whose IoU fell, beyond noise, to less than half.

    Args:
        names: of the classes.
        iou: what it is now, [classes], NaN for classes that do not occur.
        before: what it was, [classes].
        change: of `iou` over `before`, with intervals.
    """
    fell = (iou < LOST_SHARE * before) & (before > LEAST_IOU)
    return tuple(n for n, lost, by in zip(names, fell, change.classes, strict=True) if lost and by.below(0))


def _row(contender: Contender, contenders: Sequence[Contender], first: Manifest, concurrency: int) -> Row:
    names = first.labels.names
    scored = _is_scored(contender, first)
    compared = compared_with(contender, contenders)
    comparisons = tuple(_comparison(contender, other, names, scored) for other in compared)
    nearest_behind = not contender.is_reference and first.contract.mask_size is not None
    iou = zip(names, contender.counts.iou(), strict=True) if scored else None
    return Row(
        name=contender.name,
        engine=contender.facts["engine"],
        version=contender.facts["version"],
        precision=contender.precision,
        size=contender.size,
        latency_ms=percentiles(contender.whole),
        network_ms=percentiles(contender.network),
        batch=contender.batch,
        calls=len(contender.whole),
        throughput=_of_one_caller(contender) if concurrency == 1 else contender.throughput,
        miou=contender.counts.miou() if scored else None,
        pixel_accuracy=contender.counts.pixel_accuracy() if scored else None,
        per_class_iou={n: float(v) for n, v in iou} if iou else None,
        agreement=next((c.agreement for c in comparisons if c.against == contender.reference), None),
        agreement_with=contender.reference if contender.reference in contender.agreements else None,
        size_bytes=contender.facts["size_bytes"],
        peak_memory_bytes=contender.peak_memory,
        verdict="",
        notes=(*contender.notes, *_resizing(contender, nearest_behind)),
        miou_interval=miou_interval(contender.counts) if scored else None,
        comparisons=comparisons,
        doubts=spread_doubt(contender.whole, contender.shown),
    )


def _of_one_caller(contender: Contender) -> float:
    return contender.batch * len(contender.whole) / sum(contender.whole)


def _is_scored(contender: Contender, first: Manifest) -> bool:
    return bool(contender.counts.counts.sum()) and not first.source.random_weights


def _comparison(one: Contender, other: Contender, names: Sequence[str], scored: bool) -> Comparison:
    change = paired_iou(one.counts, other.counts) if scored else None
    calls = min(len(one.whole), len(other.whole))  # of an interrupted run's last round, only some were made
    return Comparison(
        against=other.name,
        speedup=paired_ratio(other.whole[:calls], one.whole[:calls]),
        miou_change=change.miou if change else None,
        agreement=one.agreements[other.name].share() if other.name in one.agreements else None,
        lost_classes=lost_classes(names, one.counts.iou(), other.counts.iou(), change) if change else (),
    )


def _resizing(contender: Contender, nearest_behind: bool) -> tuple[str, ...]:
    if not contender.resized:
        return ()
    count = len(contender.resized)
    what = f"images of {format_size(next(iter(contender.resized)))}" if count == 1 else f"images of {count} sizes"
    behind = ", their class maps by nearest neighbour" if nearest_behind else ""
    return (f"{what} resized by Pillow to {format_size(contender.image_size)}{behind}",)
