"""From records to figures: every one is computed from the folder's lines, whoever wrote them and in how many runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from segexport.errors import DataError
from segexport.evaluation import tally
from segexport.evaluation.bootstrap import Interval
from segexport.evaluation.condition import Condition
from segexport.evaluation.folder import EvaluationFolder, Image
from segexport.evaluation.groups import FEWEST, Group, Survey, groups_of
from segexport.evaluation.records import Ints, boundary_table, class_counts
from segexport.evaluation.result import (
    ClassFigures,
    Confused,
    Difference,
    Evaluated,
    Evaluation,
    Figures,
    GroupFigures,
    GroupScore,
    Missing,
    Skipped,
)
from segexport.evaluation.robustness import Scored, robustness
from segexport.evaluation.tally import Cell, Tally

NAMED_CONFUSIONS = 5
LEAST_CONFUSED = 0.01
"""Confusions of less than this share of a class's pixels are not named."""


def summarise(
    folder: EvaluationFolder,
    subjects: Sequence[dict[str, Any]],
    classes: Sequence[str],
    by: Sequence[str] = (),
    *,
    unfinished: bool = False,
) -> Evaluation:
    """The evaluation in a folder; without figures while images are missing, unless told.

    Args:
        folder: whose records are read, image by image; memory does not grow with their number, but for 8 bytes an
            image where groups are by brightness.
        subjects: their facts, in the order of the records' scores.
        classes: names.
        by: columns or statistics to group images by.
        unfinished: give the figures of what is done, if anything is, although images are missing.

    Raises:
        DataError: a damaged record, no image that could be read, or no such column.
    """
    missing = []
    for shard in folder.shards:
        done, of = folder.position(shard).ordinal, len(shard.indices(folder.images))
        if done < of:
            missing.append(Missing(str(shard), of - done))
    empty = Evaluation(str(folder.path), folder.settings, tuple(classes), 0, (), tuple(missing))
    if missing and not unfinished:
        return empty
    confusion = np.zeros((len(subjects), len(classes), len(classes)), np.int64)
    survey = Survey.of(_adding(folder.read({0}), confusion), by)
    if not survey.images:
        if missing:
            return empty
        raise DataError(f"none of the {folder.images} images could be read: mend them, and evaluate with --overwrite")
    found = _Summary(folder, subjects, classes, confusion, survey, groups_of(by, survey))
    return dataclasses.replace(
        empty,
        images=survey.images,
        skipped=tuple(Skipped(index, why) for index, why in survey.bad),
        **found.figures(),
    )


class _Summary:
    """Adds up the records and turns each sum into figures as soon as it is whole."""

    def __init__(
        self,
        folder: EvaluationFolder,
        subjects: Sequence[dict[str, Any]],
        classes: Sequence[str],
        confusion: Ints,
        survey: Survey,
        groups: Sequence[Group],
    ) -> None:
        self._folder, self._subjects, self._classes = folder, subjects, classes
        self._confusion, self._survey, self._groups = confusion, survey, groups
        self._names = [str(facts["name"]) for facts in subjects]
        self._random = [bool(facts["random_weights"]) for facts in subjects]
        self._boundary = bool(folder.settings["boundary"])
        self._conditions = [Condition(c["corruption"], c["severity"]) for c in folder.settings["conditions"]]
        self._scored: list[Scored] = []
        self._found: dict[str, Any] = {"groups": ()}

    def figures(self) -> dict[str, Any]:
        """Fields of `Evaluation`."""
        takers: list[Callable[[Tally], None]] = [self._whole]
        cells = [Cell("all", 0, 6 if self._boundary else 3, self._counts(0))]
        for number, condition in enumerate(self._conditions[1:], 1):
            cells.append(Cell(str(condition), number, 3, self._counts(number)))
            takers.append(self._condition)
        for group in self._groups:
            cells.append(Cell(group.name, 0, 3, self._group_counts(group)))
            takers.append(self._group_taker(group))
        queue = iter(takers)
        tally.tally(
            lambda wanted: (image for image in self._folder.read(wanted) if image.bad is None),
            cells,
            self._survey.images,
            len(self._subjects),
            len(self._classes),
            lambda one: next(queue)(one),
            seed=self._folder.settings["seed"],
        )
        if len(self._conditions) > 1:
            self._found["robustness"] = robustness(
                self._conditions, self._scored, self._names, pytorch_of(self._subjects), self._random
            )
        return self._found

    def _counts(self, number: int) -> Callable[[Image], Ints]:
        classes = len(self._classes)

        def counts(image: Image) -> Ints:
            found = []
            for score in image.records[number].scores:
                rows = [class_counts(score.confusion, classes)]
                if self._boundary and number == 0:
                    rows.append(boundary_table(score.boundary, classes))
                found.append(np.concatenate(rows))
            return np.array(found, np.int64)

        return counts

    def _group_counts(self, group: Group) -> Callable[[Image], Ints | None]:
        def counts(image: Image) -> Ints | None:
            if not group.has(image):
                return None
            scores = image.records[0].scores
            return np.array([class_counts(group.pairs(score), len(self._classes)) for score in scores], np.int64)

        return counts

    def _whole(self, found: Tally) -> None:
        self._condition(found)
        self._found["subjects"] = tuple(
            Evaluated(name, dict(facts), None if self._random[place] else self._subject(found, place))
            for place, (name, facts) in enumerate(zip(self._names, self._subjects, strict=True))
        )
        self._found["differences"] = tuple(
            self._difference(found, later, earlier)
            for later in range(len(self._subjects))
            for earlier in range(later)
            if not (self._random[later] or self._random[earlier])
        )

    def _condition(self, found: Tally) -> None:
        self._scored.append(Scored(tally.miou(found.totals), tally.miou(found.drawn), found.counted))

    def _group_taker(self, group: Group) -> Callable[[Tally], None]:
        def take(found: Tally) -> None:
            if found.images:
                scores = tuple(self._group_score(found, place) for place in range(len(self._subjects)))
                figures = GroupFigures(group.by, group.name, found.images, found.images < FEWEST, scores)
                self._found["groups"] = (*self._found["groups"], figures)

        return take

    def _group_score(self, found: Tally, place: int) -> GroupScore:
        if self._random[place]:
            return GroupScore(self._names[place], None, None)
        ious = tally.iou(found.totals[place])
        classes = {name: float(value) for name, value in zip(self._classes, ious, strict=True)}
        return GroupScore(self._names[place], found.interval(tally.miou, place), classes)

    def _subject(self, found: Tally, place: int) -> Figures:
        ious = found.class_intervals(tally.iou, place)
        accuracies = found.class_intervals(tally.accuracy, place)
        boundaries: Sequence[Interval | None] = [None] * len(self._classes)
        if self._boundary:
            boundaries = found.class_intervals(tally.boundary_iou, place)
        pixels = found.totals[place, 1]
        matrix = self._confusion[place]
        return Figures(
            miou=found.interval(tally.miou, place),
            mean_accuracy=found.interval(tally.mean_accuracy, place),
            pixel_accuracy=found.interval(tally.pixel_accuracy, place),
            boundary_miou=found.interval(tally.boundary_miou, place) if self._boundary else None,
            classes=tuple(
                ClassFigures(name, int(pixels[c]), ious[c], accuracies[c], boundaries[c])
                for c, name in enumerate(self._classes)
            ),
            confusion=tuple(tuple(row) for row in matrix.tolist()),
            confusions=confusions(matrix, self._classes),
        )

    def _difference(self, found: Tally, later: int, earlier: int) -> Difference:
        return Difference(
            self._names[later],
            self._names[earlier],
            found.interval(tally.miou, later, earlier),
            found.interval(tally.mean_accuracy, later, earlier),
            found.interval(tally.pixel_accuracy, later, earlier),
            found.interval(tally.boundary_miou, later, earlier) if self._boundary else None,
            dict(zip(self._classes, found.class_intervals(tally.iou, later, earlier), strict=True)),
        )


def confusions(matrix: Ints, classes: Sequence[str]) -> tuple[Confused, ...]:
    """What classes were taken for most, by share of their own pixels, the largest first.

    Args:
        matrix: int64 [classes, classes], rows are ground truth.
        classes: names.
    """
    pixels = np.maximum(matrix.sum(1, keepdims=True), 1)
    shares = matrix / pixels
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:NAMED_CONFUSIONS]
    found = []
    for truth, predicted in zip(*np.unravel_index(order, shares.shape), strict=True):
        share = float(shares[truth, predicted])
        if share >= LEAST_CONFUSED:
            found.append(Confused(classes[truth], classes[predicted], int(matrix[truth, predicted]), share))
    return tuple(found)


def pytorch_of(subjects: Sequence[dict[str, Any]]) -> list[int | None]:
    """For each subject the place of PyTorch with the same weights, of the same size where there is a choice.

    None for PyTorch itself, and where no PyTorch has these weights.
    """
    found: list[int | None] = []
    for facts in subjects:
        like = [
            place
            for place, other in enumerate(subjects)
            if other["kind"] == "pytorch" and other["weights_sha256"] == facts["weights_sha256"]
        ]
        like.sort(key=lambda place: subjects[place].get("size") != facts.get("size"))
        found.append(like[0] if like and facts["kind"] != "pytorch" else None)
    return found


def _adding(images: Iterable[Image], confusion: Ints) -> Iterator[Image]:
    """The images as they are; on the way their pairs of classes are added to `confusion` [subjects, ...]."""
    for image in images:
        if image.bad is None:
            for place, score in enumerate(image.records[0].scores):
                truth, predicted, pixels = score.confusion.T
                confusion[place, truth, predicted] += pixels
        yield image
