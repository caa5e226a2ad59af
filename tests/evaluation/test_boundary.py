"""Boundary pixels, against repeated erosion class by class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport import scenes
from segexport.evaluation.boundary import boundary, boundary_counts, boundary_distance
from segexport.evaluation.metrics import intersection_over_union


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """3x3 erosion, `times` over; outside of the image is nothing."""
    height, width = mask.shape
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = np.logical_and.reduce([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    return mask


def slow_counts(truth: np.ndarray, prediction: np.ndarray, classes: int, distance: int) -> np.ndarray:
    prediction = np.where(truth == 255, 255, prediction)
    counts = []
    for index in range(classes):
        edges = [mask & ~eroded(mask, distance) for mask in (truth == index, prediction == index)]
        counts.append([(edges[0] & edges[1]).sum(), edges[0].sum(), edges[1].sum()])
    return np.array(counts).T


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    cell=st.integers(1, 12),
    ratio=st.sampled_from([0.005, 0.02, 0.06, 0.3]),
    seed=st.integers(0, 2**31),
)
def test_the_same_as_erosion(height: int, width: int, cell: int, ratio: float, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def blocks(values: list[int]) -> np.ndarray:
        coarse = rng.choice(values, (-(-height // cell), -(-width // cell)))
        return coarse.repeat(cell, 0).repeat(cell, 1)[:height, :width].astype(np.uint8)

    truth, prediction = blocks([0, 0, 0, 1, 2, 255]), blocks([0, 0, 0, 1, 2])
    expected = slow_counts(truth, prediction, 3, boundary_distance((height, width), ratio))
    np.testing.assert_array_equal(boundary_counts(truth, prediction, 3, ratio), expected)


def test_the_same_as_opencv_on_a_scene() -> None:
    """As `mask_to_boundary` of the paper's authors."""
    cv2 = pytest.importorskip("cv2")
    truth = scenes.scene(1, (135, 243))[1]
    prediction = scenes.scene(2, (135, 243))[1]
    classes = len(scenes.LABELS)
    distance = boundary_distance((135, 243))
    assert distance == round(0.02 * (135**2 + 243**2) ** 0.5) == 6
    counts = boundary_counts(truth, prediction, classes)
    prediction = np.where(truth == 255, 255, prediction).astype(np.uint8)

    def edge(mask: np.ndarray) -> np.ndarray:
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
        return (mask.astype(np.uint8) - inner).astype(bool)

    for index in range(classes):
        one, other = edge(truth == index), edge(prediction == index)
        assert counts[:, index].tolist() == [(one & other).sum(), one.sum(), other.sum()]


def test_a_perfect_map_has_boundary_iou_1_and_a_shifted_one_less_than_its_iou() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[20:80, 20:80] = 1
    shifted = np.roll(truth, 2, 0)
    assert intersection_over_union(*boundary_counts(truth, truth, 2)).tolist() == [1.0, 1.0]
    hits, of_truth, of_prediction = boundary_counts(truth, shifted, 2)
    whole = (truth & shifted).sum() / (truth | shifted).sum()
    assert hits[1] / (of_truth + of_prediction - hits)[1] < whole


def test_nothing_is_counted_where_the_truth_is_unknown() -> None:
    truth = np.full((50, 60), 255, np.uint8)
    assert not boundary_counts(truth, np.zeros((50, 60), np.uint8), 3).any()


def test_an_image_smaller_than_the_distance_is_all_boundary() -> None:
    assert boundary(np.zeros((8, 30), np.uint8), 4).all()
    assert boundary(np.zeros((9, 30), np.uint8), 4).sum() == 9 * 30 - 1 * 22


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="the prediction"):
        boundary_counts(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), 2)
