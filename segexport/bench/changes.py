"""Which images and which classes one engine sees otherwise than another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from segexport.bench.explanation import ClassChange, ImageChange
from segexport.decision import Decision
from segexport.evaluation.bootstrap import ImageCounts, Interval, paired_iou
from segexport.evaluation.metrics import Floats, intersection_over_union, mean_over_occurring
from segexport.images import UInt8

LISTED = 5
"""Images, and classes, that are named."""


class Changes:
    """What a bundle decided beside the baseline, image by image: counts alone are kept."""

    def __init__(self, names: Sequence[str]) -> None:
        """Args: names of the classes."""
        self._names = names
        self._images: list[tuple[str, float]] = []
        self._scored: list[int] = []
        self._counts = ImageCounts(len(names))
        self._baseline_counts = ImageCounts(len(names))
        self._given = np.zeros(len(names), np.int64)
        self._became: Counter[tuple[int, int]] = Counter()

    def update(self, name: str, baseline: Decision, other: Decision, mask: UInt8 | None) -> None:
        """Add one image: two class maps [H, W], or best classes [k] each; its mask, if it is to be scored."""
        if mask is not None:
            self._scored.append(len(self._images))
            self._baseline_counts.update(mask, baseline)
            self._counts.update(mask, other)
        best = slice(0, 1) if baseline.ndim == 1 else slice(None)
        ours, theirs = baseline[best].astype(np.int64).reshape(-1), other[best].astype(np.int64).reshape(-1)
        self._given += np.bincount(ours, minlength=len(self._names))
        differs = ours != theirs
        self._images.append((name, float(differs.mean())))
        pairs, counts = np.unique(ours[differs] * len(self._names) + theirs[differs], return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self._became[divmod(pair, len(self._names))] += count

    def images(self) -> tuple[ImageChange, ...]:
        """The images that changed most, by the share of pixels with another class; none where nothing did."""
        scored = dict(zip(self._scored, self._image_mious(), strict=True))
        order = sorted(range(len(self._images)), key=lambda i: -self._images[i][1])
        return tuple(
            ImageChange(name, changed, scored.get(index))
            for index in order[:LISTED]
            for name, changed in [self._images[index]]
            if changed > 0
        )

    def classes(self) -> tuple[ClassChange, ...]:
        """The classes that changed most: by IoU where masks tell, else by the share that got another class."""
        if self._scored:
            changes = paired_iou(self._counts, self._baseline_counts).classes
            known = [i for i, change in enumerate(changes) if change.value and not math.isnan(change.value)]
            order = sorted(known, key=lambda i: -abs(changes[i].value))
            return tuple(self._class(i, changes[i]) for i in order[:LISTED])
        shares = {one: self._left(one) / int(self._given[one]) for one, _ in self._became}
        return tuple(self._class(i, None) for i in sorted(shares, key=lambda i: (-shares[i], i))[:LISTED])

    def _image_mious(self) -> list[float | None]:
        found = self._image_iou(self._counts) - self._image_iou(self._baseline_counts)
        return [None if math.isnan(value) else value for value in found.tolist()]

    @staticmethod
    def _image_iou(counts: ImageCounts) -> Floats:
        """[images]"""
        return mean_over_occurring(intersection_over_union(*counts.counts))

    def _left(self, one: int) -> int:
        return sum(count for (was, _), count in self._became.items() if was == one)

    def _class(self, one: int, change: Interval | None) -> ClassChange:
        given = int(self._given[one])
        others = {now: count for (was, now), count in self._became.items() if was == one}
        most = max(others, key=lambda now: others[now]) if others else None
        return ClassChange(
            self._names[one],
            change,
            self._left(one) / given if given else None,
            None if most is None else self._names[most],
            None if most is None else others[most] / given,
        )
