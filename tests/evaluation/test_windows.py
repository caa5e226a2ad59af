"""Sliding windows and upsampling, against torch on arrays of full size."""

from __future__ import annotations

import numpy as np
import pytest

from segexport import scenes
from segexport.evaluation.upsample import add_softmax, class_map, upsample
from segexport.evaluation.windows import padding_colour, slide, starts
from segexport.spec import Preprocessing
from tests.evaluation import small

COLOUR = np.array([124, 116, 104], np.uint8)


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((7, 9), (30, 41)),
        ((128, 128), (512, 512)),
        ((33, 57), (1024, 777)),
        ((97, 31), (40, 20)),
        ((1, 1), (4, 5)),
        ((24, 33), (96, 33)),
        ((64, 64), (65, 129)),
    ],
    ids=str,
)
def test_upsampling_is_torchs(source: tuple[int, int], size: tuple[int, int]) -> None:
    import torch

    logits = np.random.default_rng(0).standard_normal((4, *source)).astype(np.float32)
    expected = small.interpolate(torch.from_numpy(logits)[None], size)[0].numpy()
    np.testing.assert_allclose(upsample(logits, size), expected, atol=1e-6, rtol=0)
    assert upsample(logits, size).dtype == np.float32


def test_softmax_is_torchs_at_the_images_size() -> None:
    import torch

    logits = 30 * np.random.default_rng(1).standard_normal((5, 9, 11)).astype(np.float32)
    total = np.ones((5, 70, 44), np.float32)
    add_softmax(total, logits)
    expected = 1 + small.interpolate(torch.from_numpy(logits)[None], (70, 44)).softmax(1)[0].numpy()
    np.testing.assert_allclose(total, expected, atol=3e-5)


def test_ties_go_to_the_lowest_class() -> None:
    logits = np.zeros((6, 3, 3), np.float32)
    assert (class_map(logits, (12, 12)) == 0).all()
    logits[[2, 4]] = 1
    assert (class_map(logits, (12, 12)) == 2).all()
    logits = np.random.default_rng(2).integers(0, 3, (6, 80, 90)).astype(np.float32)
    np.testing.assert_array_equal(class_map(logits, (80, 90)), logits.argmax(0))


@pytest.mark.parametrize(
    ("side", "crop", "stride", "expected"),
    [
        (2048, 1024, 768, [0, 768, 1024]),
        (1024, 1024, 768, [0]),
        (1025, 1024, 768, [0, 1]),
        (500, 1024, 768, [0]),
        (1792, 1024, 768, [0, 768]),
        (10, 4, 1, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_where_windows_begin(side: int, crop: int, stride: int, expected: list[int]) -> None:
    assert starts(side, crop, stride) == expected


@pytest.mark.parametrize("size", [(131, 203), (64, 96), (40, 211), (50, 33), (65, 97)], ids=str)
@pytest.mark.parametrize("stride", [(48, 72), (64, 96), (7, 50)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_mean_logits_are_the_slow_loops(size: tuple[int, int], stride: tuple[int, int], batch: int) -> None:
    network = small.Quarter(batch=batch)
    image = scenes.scene(4, size)[0]
    expected = small.slide(network.logits, image, (64, 96), stride, COLOUR)
    network.calls.clear()
    found = slide(network, image, (64, 96), stride, COLOUR)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    windows = len(starts(size[0], 64, stride[0])) * len(starts(size[1], 96, stride[1]))
    assert network.calls == [batch] * (windows // batch) + [windows % batch] * bool(windows % batch)


def test_the_padding_is_what_normalisation_makes_nothing_of() -> None:
    assert padding_colour(Preprocessing()).tolist() == [124, 116, 104]
    assert padding_colour(Preprocessing(do_normalize=False)).tolist() == [0, 0, 0]
    assert padding_colour(Preprocessing(rescale_factor=1 / 127.5, mean=(1, 1, 1))).tolist() == [128, 128, 128]
    assert padding_colour(Preprocessing(do_rescale=False)).tolist() == [0, 0, 0]
