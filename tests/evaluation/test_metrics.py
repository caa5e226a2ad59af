"""Scores, against torchmetrics and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segexport.errors import ContractError, DataError
from segexport.evaluation.metrics import Agreement, ConfusionMatrix

CLASSES = 5


def maps(values: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint8, (7, 9), elements=values)


@given(truth=maps(st.sampled_from([0, 1, 2, 3, 4, 255])), prediction=maps(st.integers(0, CLASSES - 1)))
def test_the_counts_are_torchmetrics(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Counts are compared exactly, since torchmetrics computes its ratios in float32."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    ours = ConfusionMatrix(CLASSES)
    ours.update(truth, prediction)
    theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=255)
    theirs.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
    np.testing.assert_array_equal(ours.counts, theirs.compute().numpy())


def test_miou_is_torchmetrics_over_classes_that_occur() -> None:
    import torch
    from torchmetrics.classification import MulticlassJaccardIndex

    rng = np.random.default_rng(0)
    ours = ConfusionMatrix(CLASSES)
    theirs = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=255)
    for _ in range(4):
        truth = rng.choice([0, 1, 2, 255], (32, 48)).astype(np.uint8)
        prediction = rng.integers(0, 4, (32, 48)).astype(np.uint8)
        ours.update(truth, prediction)
        theirs.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
    iou = ours.iou()
    assert np.isnan(iou[4]), "class 4 is in neither ground truth nor prediction"
    np.testing.assert_allclose(iou[:4], theirs.compute().numpy()[:4], rtol=1e-6)
    assert ours.miou() == pytest.approx(iou[:4].mean())


def test_by_hand() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    np.testing.assert_allclose(matrix.iou(), [0.5, 0.5, np.nan])
    assert matrix.miou() == pytest.approx(0.5)
    assert matrix.pixel_accuracy() == pytest.approx(2 / 3)


def test_a_class_only_predicted_counts_as_zero() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    np.testing.assert_allclose(matrix.iou(), [0.75, 0.0])
    assert matrix.miou() == pytest.approx(0.375)


def test_nothing_counted_is_nan_not_zero() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert np.isnan(matrix.miou())
    assert np.isnan(matrix.pixel_accuracy())
    assert np.isnan(Agreement().share())


def test_agreement_is_over_all_pixels_of_all_images() -> None:
    agreement = Agreement()
    agreement.update(np.zeros((1, 3)), np.zeros((1, 3)))
    agreement.update(np.zeros((1, 1)), np.ones((1, 1)))
    assert agreement.share() == 0.75


def test_mmsegmentations_formulas() -> None:
    """`IoUMetric` of mmsegmentation: histograms of intersection, truth and prediction, summed over images, float64."""
    rng = np.random.default_rng(1)
    matrix = ConfusionMatrix(CLASSES)
    histograms = np.zeros((3, CLASSES), np.float64)
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 3, 4, 255], (33, 47)).astype(np.uint8)
        prediction = rng.integers(0, CLASSES, (33, 47)).astype(np.uint8)
        matrix.update(truth, prediction)
        label, predicted = truth[truth != 255], prediction[truth != 255]
        for row, ids in enumerate((predicted[predicted == label], label, predicted)):
            histograms[row] += np.bincount(ids, minlength=CLASSES)
    intersect, of_label, of_prediction = histograms
    iou = intersect / (of_label + of_prediction - intersect)
    acc = intersect / of_label
    np.testing.assert_array_equal(matrix.iou(), iou)
    np.testing.assert_array_equal(matrix.accuracy(), acc)
    assert matrix.miou() == pytest.approx(np.nanmean(iou), rel=1e-15)
    assert matrix.mean_accuracy() == pytest.approx(np.nanmean(acc), rel=1e-15)
    assert matrix.pixel_accuracy() == intersect.sum() / of_label.sum()


def test_accuracy_leaves_out_classes_without_truth() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 2, 2, 2]], np.uint8))
    np.testing.assert_allclose(matrix.accuracy(), [0.5, 0, np.nan])
    assert matrix.mean_accuracy() == pytest.approx(0.25)


@pytest.mark.parametrize("wrong", [3, 200, 255])
def test_a_prediction_outside_the_classes_is_refused_and_counts_nothing(wrong: int) -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(ContractError, match=f"prediction has class {wrong}, but ids go from 0 to 2"):
        matrix.update(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, wrong]], np.uint8))
    assert not matrix.counts.any()
    matrix.update(np.array([[0, 255]], np.uint8), np.array([[0, wrong]], np.uint8))  # where nothing is counted
    assert matrix.counts.sum() == 1


def test_a_truth_outside_the_classes_is_refused() -> None:
    matrix = ConfusionMatrix(3)
    with pytest.raises(DataError, match="truth has class 7"):
        matrix.update(np.full((2, 2), 7, np.uint8), np.zeros((2, 2), np.uint8))
    with pytest.raises(ContractError, match="prediction \\[2, 3\\]"):
        matrix.update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_as_many_classes_as_a_mask_can_hold() -> None:
    rng = np.random.default_rng(2)
    truth, prediction = rng.integers(0, 255, (2, 40, 50)).astype(np.uint8)
    matrix = ConfusionMatrix(255)
    matrix.update(truth, prediction)
    expected = np.zeros((255, 255), np.int64)
    np.add.at(expected, (truth, prediction), 1)
    np.testing.assert_array_equal(matrix.counts, expected)
