"""What a data set holds, before anything is trained or scored with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segexport.datasets.base import LabelledImages, as_stored
from segexport.datasets.look import Look, chosen, is_transposed, look
from segexport.datasets.numbering import UNKNOWN
from segexport.spec import IGNORE_INDEX, Labels

MOST = 500
"""Images looked at unless told otherwise; of larger sets so many are drawn."""

SHOWN = 5
"""Names kept of images with something wrong."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SizeCount:
    """How many images have a size, upright."""

    height: int
    width: int
    images: int


@dataclass(frozen=True)
class ClassShare:
    """A class's pixels among all labelled ones, and how many images it is in."""

    name: str
    pixels: int
    share: float
    images: int


@dataclass(frozen=True)
class Outside:
    """A mask value that stands for nothing, as people write it."""

    value: str
    pixels: int
    images: int
    example: str


@dataclass(frozen=True)
class Affected:
    """What is wrong (one of `PROBLEMS`), with how many images, and what is said of the first few."""

    what: str
    images: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class DataSummary:
    """What a data set holds; plain values that `spec.to_json` takes.

    `examined` of `images` were looked at, drawn with `seed` where they are not all. Shares are of labelled pixels,
    `unlabelled_share` and `outside_share` of all.
    """

    name: str
    images: int
    examined: int
    seed: int
    sizes: tuple[SizeCount, ...]
    classes: tuple[ClassShare, ...]
    unlabelled_share: float
    outside_share: float
    outside: tuple[Outside, ...]
    absent: tuple[str, ...]
    """Classes that no mask has."""
    problems: tuple[Affected, ...] = ()


PROBLEMS = {
    "unreadable image": "cannot be used",
    "unreadable mask": "cannot be used",
    "no mask": "have no mask",
    "mask of another size": "have masks of another size",
    "all ignored": "have no labelled pixel",
    "one class only": "show one class only",
    "not RGB": "are not RGB and are converted",
}
"""What can be wrong with an image, and how to say it of several."""


def summarise(
    images: LabelledImages,
    labels: Labels,
    *,
    most: int = MOST,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> DataSummary:
    """Look at a data set's images and masks, all or `most` of them; bad files are counted, none stops it.

    Args:
        images: a data set read from files, with or without masks.
        labels: the label set it was opened with.
        most: how many images to look at; more are sampled.
        seed: of that draw.
        progress: told how many are done.

    Raises:
        TypeError: images that are not read from files.
    """
    source = as_stored(images)
    indices = chosen(len(source), most, seed)
    counted = _Counts(len(labels))
    for done, index in enumerate(indices, 1):
        counted.add(look(source, index))
        progress(done, len(indices))
    labelled = int(counted.pixels.sum())
    every = labelled + counted.unlabelled + sum(counted.outside_pixels.values())
    return DataSummary(
        name=images.name,
        images=len(source),
        examined=len(indices),
        seed=seed,
        sizes=tuple(SizeCount(h, w, n) for (h, w), n in counted.sizes.most_common()),
        classes=tuple(
            ClassShare(name, int(pixels), int(pixels) / labelled if labelled else 0.0, int(number))
            for name, pixels, number in zip(labels.names, counted.pixels, counted.images, strict=True)
        ),
        unlabelled_share=counted.unlabelled / every if every else 0.0,
        outside_share=sum(counted.outside_pixels.values()) / every if every else 0.0,
        outside=tuple(
            Outside(source.masks.show(value), pixels, counted.outside_images[value], counted.outside_example[value])
            for value, pixels in counted.outside_pixels.most_common()
        ),
        absent=tuple(name for name, number in zip(labels.names, counted.images, strict=True) if not number),
        problems=tuple(
            Affected(what, counted.problems[what], tuple(counted.examples[what]))
            for what in PROBLEMS
            if counted.problems[what]
        ),
    )


class _Counts:
    """What is added up over images."""

    def __init__(self, classes: int) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels = np.zeros(classes, np.int64)
        self.images = np.zeros(classes, np.int64)
        self.unlabelled = 0
        self.outside_pixels: Counter[int] = Counter()
        self.outside_images: Counter[int] = Counter()
        self.outside_example: dict[int, str] = {}
        self.problems: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, one: Look) -> None:
        if one.image_size is not None:
            self.sizes[one.image_size] += 1
        for kind, text in _wrong(one):
            self.problems[kind] += 1
            if len(self.examples.setdefault(kind, [])) < SHOWN:
                self.examples[kind].append(text)
        if one.ids is None or one.counts is None or one.values is None:
            return
        for index, pixels in zip(one.ids.tolist(), one.counts.tolist(), strict=True):
            if index == IGNORE_INDEX:
                self.unlabelled += pixels
            elif index != UNKNOWN:
                self.pixels[index] += pixels
        self.images[np.unique(one.ids[(one.ids != IGNORE_INDEX) & (one.ids != UNKNOWN)])] += 1
        for value, pixels in zip(one.values[one.ids == UNKNOWN], one.counts[one.ids == UNKNOWN], strict=True):
            self.outside_pixels[int(value)] += int(pixels)
            self.outside_images[int(value)] += 1
            self.outside_example.setdefault(int(value), one.mask_name)


def _wrong(one: Look) -> list[tuple[str, str]]:
    """What is wrong with one image: kinds of `PROBLEMS` with a text each."""
    found = []
    if one.image_error:
        found.append(("unreadable image", one.image_error))
    elif one.image_mode != "RGB":
        found.append(("not RGB", f"{one.image_name} ({one.image_mode})"))
    if not one.has_mask:
        return found if one.image_error else [*found, ("no mask", one.image_name)]
    if one.mask_error:
        return [*found, ("unreadable mask", one.mask_error)]
    if one.mask_size is not None and one.image_size is not None and one.mask_size != one.image_size:
        (height, width), (tall, wide) = one.mask_size, one.image_size
        turned = ", turned by its EXIF orientation" if is_transposed(one) else ""
        found.append(("mask of another size", f"{one.mask_name} is {height}x{width}, its image {tall}x{wide}{turned}"))
    if one.ids is not None:
        classes = set(one.ids.tolist()) - {IGNORE_INDEX, UNKNOWN}
        if not classes and UNKNOWN not in one.ids:
            found.append(("all ignored", one.mask_name))
        elif len(classes) == 1 and UNKNOWN not in one.ids:
            found.append(("one class only", one.mask_name))
    return found
