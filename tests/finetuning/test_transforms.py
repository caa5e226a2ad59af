"""Views of an image: sizes, ranges, and image and mask staying together."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.finetuning.recipe import PAPER
from segexport.finetuning.transforms import Augmentation, jitter

PLAIN = dataclasses.replace(PAPER, jitter=False, flip=0.0)


def of(recipe=PLAIN, crop=(32, 48), short_side=None):
    return Augmentation(crop, short_side, (124, 116, 104), recipe)


def coordinates(height, width):
    """An image whose red and green tell row and column, and a mask that tells in which eighth of the rows it is."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 255 // height, columns * 255 // width, np.zeros_like(rows)], -1).astype(np.uint8)
    return image, (rows * 8 // height).astype(np.uint8)


@given(
    st.integers(8, 90), st.integers(8, 90), st.integers(4, 60), st.integers(4, 60), st.integers(0, 99), st.booleans()
)
def test_any_image_gives_the_crop(height, width, crop_height, crop_width, seed, coarse):
    image, mask = coordinates(height, width)
    augment = of(PAPER, (crop_height, crop_width), 24)
    stride = 2 if coarse else 1
    view, classes = augment(image, mask, np.random.default_rng(seed), stride)
    assert view.shape == (max(1, crop_height // stride), max(1, crop_width // stride), 3)
    assert classes.shape == view.shape[:2]
    assert view.dtype == classes.dtype == np.uint8
    assert set(np.unique(classes)) <= {*range(8), 255}


@pytest.mark.parametrize("seed", range(8))
def test_image_and_mask_stay_together(seed):
    recipe = dataclasses.replace(PLAIN, flip=0.5)
    image, mask = coordinates(160, 240)
    view, classes = of(recipe, (64, 80))(image, mask, np.random.default_rng(seed))
    seen = classes != 255
    assert seen.sum() > 1000
    # Red says the row, and so the eighth, within the blur of a resize.
    eighth = view[..., 0].astype(float) * 8 / 255
    assert np.abs(eighth[seen] - classes[seen] - 0.5).max() < 0.65


def test_the_same_draw_is_the_same_view_and_another_is_not():
    image, mask = coordinates(100, 120)
    first, again, other = (of(PAPER)(image, mask, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_outside_the_image_is_the_mean_and_ignored():
    image, mask = coordinates(20, 20)
    recipe = dataclasses.replace(PLAIN, scales=(0.5, 0.5))
    view, classes = of(recipe, (32, 32))(image, mask, np.random.default_rng(0))
    assert (classes[10:] == 255).all()
    assert (view[10:] == (124, 116, 104)).all()
    assert (classes[:10, :10] != 255).all()


def test_a_crop_of_one_class_alone_is_drawn_again():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :6] = 1  # few crops show both
    image = np.zeros((100, 100, 3), np.uint8)
    recipe = dataclasses.replace(PLAIN, scales=(1.0, 1.0), largest_share=0.99)

    views = [of(recipe, (20, 20))(image, mask, np.random.default_rng(seed))[1] for seed in range(60)]
    # One try in 13 shows both; ten tries do so more often than not.
    assert sum(len(np.unique(view)) == 2 for view in views) > 20


@pytest.mark.parametrize("seed", range(20))
def test_jitter_keeps_shape_and_range_and_is_drawn(seed):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = jitter(image, np.random.default_rng(seed))
    assert found.shape == image.shape
    assert found.dtype == np.uint8


def test_jitter_changes_most_images_and_leaves_some():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    unchanged = [np.array_equal(jitter(image, np.random.default_rng(seed)), image) for seed in range(200)]
    assert 0 < sum(unchanged) < 40  # every change is left out with probability 1/16
