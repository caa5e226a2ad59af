"""Scenes: the same seed gives the same pixels, any size works, and every class turns up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport.scenes import LABELS, PALETTE, TRAIN_SEED, VALIDATION_SEED, scene, write_dataset


def test_every_label_has_its_own_colour() -> None:
    assert len(PALETTE) == len(LABELS) == len(set(PALETTE)) == len(set(LABELS))


def test_a_seed_decides_every_pixel() -> None:
    first, again, other = scene(3), scene(3), scene(4)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("size", [(32, 32), (97, 131), (256, 320), (360, 480), (64, 512), (320, 64)])
def test_size_type_and_range(size: tuple[int, int]) -> None:
    for seed in range(3):
        image, mask = scene(seed, size)
        assert image.shape == (*size, 3)
        assert mask.shape == size
        assert image.dtype == mask.dtype == np.uint8
        assert mask.max() < len(LABELS)
        assert image.flags.c_contiguous
        assert mask.flags.c_contiguous
        assert image.std() > 10


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="31x40"):
        scene(0, (31, 40))


def test_every_class_is_common() -> None:
    scenes = [scene(seed)[1] for seed in range(40)]
    for index, name in enumerate(LABELS):
        share = sum(bool((mask == index).any()) for mask in scenes) / len(scenes)
        assert share >= 0.2, f"{name} is in {share:.0%} of the scenes"


def test_image_and_mask_are_aligned() -> None:
    """Where the mask changes class the image changes colour, more than three pixels beside it."""
    on_edges, beside, elsewhere = [], [], []
    for seed in range(8):
        image, mask = scene(seed)
        change = np.abs(np.diff(image.astype(np.float64), axis=1)).sum(axis=-1)
        edge = mask[:, 1:] != mask[:, :-1]
        on_edges.append(change[edge].mean())
        beside.append(change[np.roll(edge, 3, axis=1)].mean())
        elsewhere.append(change[~edge].mean())
    assert np.mean(on_edges) > 1.5 * np.mean(beside)
    assert np.mean(on_edges) > 2 * np.mean(elsewhere)


def test_training_never_reaches_validation() -> None:
    assert VALIDATION_SEED - TRAIN_SEED >= 1_000_000
    assert not np.array_equal(scene(TRAIN_SEED)[1], scene(VALIDATION_SEED)[1])


def test_dataset_on_disk_is_what_scene_draws(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "street", 3, seed=VALIDATION_SEED, size=(64, 80))
    images, masks = (sorted(path.name for path in (folder / name).iterdir()) for name in ("images", "masks"))
    assert images == masks == ["0000.png", "0001.png", "0002.png"]
    for index, name in enumerate(images):
        image, mask = scene(VALIDATION_SEED + index, (64, 80))
        with Image.open(folder / "images" / name) as picture, Image.open(folder / "masks" / name) as label:
            assert (picture.mode, label.mode) == ("RGB", "L")
            assert np.array_equal(np.asarray(picture), image)
            assert np.array_equal(np.asarray(label), mask)
