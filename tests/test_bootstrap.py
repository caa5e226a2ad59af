"""Intervals: what they hold, and that they are those of drawing the images again by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.evaluation.bootstrap import (
    PERCENTILES,
    ImageCounts,
    Interval,
    miou_interval,
    paired_iou,
    paired_miou,
    paired_ratio,
)
from segexport.evaluation.metrics import ConfusionMatrix

CLASSES = 4


def drawn_maps(seed: int, images: int, classes: int = CLASSES, wrong: float = 0.3) -> tuple[np.ndarray, ...]:
    """Masks with ignored pixels, and two predictions with `wrong` and half as many wrong pixels: [images, 6, 7]."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(classes), 255], (images, 6, 7)).astype(np.uint8)
    noise = rng.integers(0, classes, truth.shape).astype(np.uint8)
    where = rng.random(truth.shape)
    right = np.where(truth == 255, 0, truth)
    return truth, np.where(where < wrong, noise, right), np.where(where < wrong / 2, noise, right)


def counted(truth: np.ndarray, prediction: np.ndarray, classes: int = CLASSES) -> ImageCounts:
    counts = ImageCounts(classes)
    for one, other in zip(truth, prediction, strict=True):
        counts.update(one, other)
    return counts


def matrix_of(truth: np.ndarray, prediction: np.ndarray, classes: int = CLASSES) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    for one, other in zip(truth, prediction, strict=True):
        matrix.update(one, other)
    return matrix


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 6), classes=st.sampled_from([2, 19, 150, 255]))
def test_scores_of_all_images_are_the_confusion_matrix_exactly(seed: int, images: int, classes: int) -> None:
    truth, prediction, _ = drawn_maps(seed, images, classes)
    counts, matrix = counted(truth, prediction, classes), matrix_of(truth, prediction, classes)
    assert counts.miou() == matrix.miou()
    assert counts.pixel_accuracy() == matrix.pixel_accuracy()
    np.testing.assert_array_equal(counts.iou(), matrix.iou())


def test_counts_are_per_image_and_leave_ignored_pixels_out() -> None:
    counts = ImageCounts(3)
    counts.update(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    counts.update(np.array([[2, 2]], np.uint8), np.array([[2, 0]], np.uint8))
    hits, truth, predicted = counts.counts
    assert hits.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert truth.tolist() == [[2, 1, 0], [0, 0, 2]]
    assert predicted.tolist() == [[1, 2, 0], [1, 0, 1]]


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 8))
def test_an_interval_holds_its_figure_and_turns_with_it(seed: int, images: int) -> None:
    truth, one, other = drawn_maps(seed, images)
    better, worse = counted(truth, other), counted(truth, one)
    there, back = paired_miou(better, worse, 100), paired_miou(worse, better, 100)
    assert there.low <= there.value <= there.high
    assert there.value == better.miou() - worse.miou()
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)
    own = miou_interval(better, 100)
    assert own.low <= own.value <= own.high


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 8))
def test_equal_class_maps_differ_by_exactly_nothing(seed: int, images: int) -> None:
    truth, prediction, _ = drawn_maps(seed, images)
    change = paired_iou(counted(truth, prediction), counted(truth, prediction), 50)
    assert change.miou == Interval(0.0, 0.0, 0.0)
    assert all(c.value == 0.0 and not c.below(0) and not c.above(0) for c in change.classes if not np.isnan(c.value))


def test_the_same_draws_by_hand() -> None:
    """Images repeated as often as drawn, scored by the confusion matrix, one draw after another."""
    truth, one, other = drawn_maps(3, 5)
    resamples = 300
    rng = np.random.default_rng(11)
    differences, of_class = [], []
    for times in rng.multinomial(5, [0.2] * 5, size=resamples):
        index = np.repeat(np.arange(5), times)
        matrices = matrix_of(truth[index], one[index]), matrix_of(truth[index], other[index])
        differences.append(matrices[0].miou() - matrices[1].miou())
        of_class.append(matrices[0].iou()[2] - matrices[1].iou()[2])
    found = paired_iou(counted(truth, one), counted(truth, other), resamples, seed=11)
    assert (found.miou.low, found.miou.high) == pytest.approx(tuple(np.percentile(differences, PERCENTILES)), abs=1e-12)
    third = found.classes[2]
    assert (third.low, third.high) == pytest.approx(tuple(np.percentile(of_class, PERCENTILES)), abs=1e-12)


def test_all_draws_there_are() -> None:
    """Of four images there are 256 draws, all alike probable: their percentiles need no chance."""
    truth, one, other = drawn_maps(5, 4)
    differences = []
    for index in itertools.product(range(4), repeat=4):
        drawn = list(index)
        differences.append(matrix_of(truth[drawn], one[drawn]).miou() - matrix_of(truth[drawn], other[drawn]).miou())
    exact = np.percentile(differences, PERCENTILES)
    found = paired_miou(counted(truth, one), counted(truth, other), 20000)
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=0.1 * (exact[1] - exact[0]))


def test_pairing_is_what_finds_a_small_loss() -> None:
    """Images differ far more than the two networks: only the same draws for both show that one is always worse."""
    rng = np.random.default_rng(0)
    one, other = ImageCounts(2), ImageCounts(2)
    for hard in rng.integers(5, 95, 40):
        truth = np.repeat(np.array([0, 1], np.uint8), 100)[None]
        for counts, wrong in ((one, hard + 2), (other, hard)):
            prediction = truth.copy()
            prediction[0, :wrong] = 1
            counts.update(truth, prediction)
    change, alone = paired_miou(one, other), miou_interval(other)
    assert change.below(0)
    assert alone.high - alone.low > 5 * (change.high - change.low)


def test_rare_classes_do_not_put_the_figure_outside_its_interval() -> None:
    """Each of 30 classes is missed on an image of its own: every draw misses a third of them, and so scores higher."""
    counts = ImageCounts(31)
    for image in range(30):
        counts.update(np.array([[0, image + 1]], np.uint8), np.zeros((1, 2), np.uint8))
    own = miou_interval(counts)
    assert own.low == own.value < own.high


def test_one_image_has_no_interval() -> None:
    truth, one, other = drawn_maps(0, 1)
    change = paired_iou(counted(truth, one), counted(truth, other))
    assert change.miou.value == counted(truth, one).miou() - counted(truth, other).miou()
    assert not change.miou.known
    assert not any(c.known for c in change.classes)
    assert not change.miou.below(0)
    assert not change.miou.above(0)


def test_images_without_a_known_pixel_count_as_none() -> None:
    truth, one, other = drawn_maps(0, 3)
    truth[1:] = 255
    assert not paired_miou(counted(truth, one), counted(truth, other)).known
    truth[:] = 255
    assert np.isnan(miou_interval(counted(truth, one)).value)
    assert np.isnan(ImageCounts(3).miou())
    assert not miou_interval(ImageCounts(3)).known


def test_a_class_on_one_image_has_no_interval() -> None:
    """Every draw that holds its image says the same of it, which is no certainty."""
    truth = np.zeros((5, 2, 2), np.uint8)
    truth[0, 0] = 1
    better, worse = truth.copy(), truth.copy()
    worse[0, 0, 0] = 0
    change = paired_iou(counted(truth, worse), counted(truth, better))
    assert change.classes[1] == Interval(-0.5, None, None)
    assert change.classes[0].known
    assert np.isnan(change.classes[2].value)


def test_other_images_are_refused() -> None:
    truth, one, _ = drawn_maps(0, 3)
    with pytest.raises(ValueError, match="same images"):
        paired_iou(counted(truth, one), counted(truth[::-1], one))
    with pytest.raises(ValueError, match="same images"):
        paired_iou(counted(truth, one), counted(truth[:2], one[:2]))


def test_a_ratio_of_noise_holds_one_and_a_real_one_does_not() -> None:
    rng = np.random.default_rng(0)
    one = rng.gamma(20, 0.001, 60)
    noise = paired_ratio(one, rng.gamma(20, 0.001, 60))
    assert noise.low < 1 < noise.high
    faster = paired_ratio(one, one / 1.4)
    assert faster.value == pytest.approx(1.4)
    assert faster.above(1.39)
    assert faster.below(1.41)


def test_a_ratio_by_hand() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random(9) + 1, rng.random(9) + 1
    index = np.random.default_rng(7).integers(9, size=(200, 9))
    ratios = [np.median(one[i]) / np.median(other[i]) for i in index]
    found = paired_ratio(list(one), list(other), 200, seed=7)
    assert found.value == np.median(one) / np.median(other)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(ratios, PERCENTILES)))


def test_a_ratio_needs_calls_side_by_side() -> None:
    assert paired_ratio([2.0], [1.0]) == Interval(2.0, None, None)
    with pytest.raises(ValueError, match="no calls"):
        paired_ratio([], [])
    with pytest.raises(ValueError, match=r"shape|sequence"):
        paired_ratio([1.0, 2.0], [1.0])
