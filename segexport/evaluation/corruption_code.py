"""Corruptions that imagecorruptions 1.1.2 cannot make with current numpy and scikit-image.

Each has the parameters and draws the numbers, in the same order from numpy's global state, that the package's function
has and draws, so that it makes the same image from the same state; but for `impulse_noise`, where scikit-image has
changed its generator since. All take uint8 [H, W, 3] and a severity of 1 to 5, and give float64 in 0..255.

Source: bethgelab/imagecorruptions (Apache-2.0), after hendrycks/robustness (Apache-2.0).
"""

from __future__ import annotations

import importlib
from typing import cast

import numpy as np
import numpy.typing as npt

from segexport.images import UInt8

Floats = npt.NDArray[np.float64]


def impulse_noise(image: UInt8, severity: int) -> Floats:
    """Salt and pepper: a share of all values, channel by channel, becomes 0 or 255.

    As `skimage.util.random_noise(mode="s&p")`, which draws from a generator of its own that the package does not seed.
    """
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    flipped = np.random.random(image.shape) <= amount
    salted = np.random.random(image.shape) <= 0.5
    return np.where(flipped, np.where(salted, 255.0, 0.0), image)


def gaussian_blur(image: UInt8, severity: int) -> Floats:
    """A Gaussian of 1 to 6 pixels, cut off at 4 sigma."""
    return np.clip(_gaussian(image / 255.0, (1, 2, 3, 4, 6)[severity - 1]), 0, 1) * 255


def glass_blur(image: UInt8, severity: int) -> Floats:
    """Gaussian blur, pixels that take the place of near ones, and Gaussian blur again.

    The package walks the image from its lower right corner and means to swap each pixel with one at a random distance.
    Of numpy's rows its swap is a copy: both then hold the other one's value. That is what its images have, and what
    this does. A copy takes what stands there by then, so that values wander; here the way back to the pixel that each
    value comes from is followed for all pixels at once, twice as far at each step.
    """
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    pixels = (_gaussian(image / 255.0, sigma) * 255).astype(np.uint8).reshape(-1, 3)
    for _ in range(rounds):
        pixels = pixels[_origins(image.shape[0], image.shape[1], reach)]
    return np.clip(_gaussian(pixels.reshape(image.shape) / 255.0, sigma), 0, 1) * 255


def fog(image: UInt8, severity: int) -> Floats:
    """A cloud added to the image, whose brightest value then stays what it was."""
    amount, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = image.shape[:2]
    cloud = _cloud(1 << (max(height, width) - 1).bit_length(), decay)[:height, :width, None]
    scaled = image / 255.0
    brightest = scaled.max()
    return cast(Floats, np.clip((scaled + amount * cloud) * brightest / (brightest + amount), 0, 1) * 255)


def _gaussian(image: Floats, sigma: float) -> Floats:
    return cast(Floats, importlib.import_module("skimage.filters").gaussian(image, sigma=sigma, channel_axis=-1))


def _origins(height: int, width: int, reach: int) -> npt.NDArray[np.intp]:
    """Of each pixel of one round, numbered row by row: the pixel whose value it ends with."""
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    steps = np.random.randint(-reach, reach, size=(rows.size, columns.size, 2))
    numbers = np.arange(height * width)
    from_ = numbers.copy()
    walked = np.zeros(height * width, np.bool_)
    place = (rows[:, None] * width + columns).ravel()
    from_[place] = ((rows[:, None] + steps[..., 1]) * width + columns + steps[..., 0]).ravel()
    walked[place] = True
    # What lies further on in the image was walked before, and holds another pixel's value already.
    way = np.where(walked & walked[from_] & (from_ > numbers), from_, numbers)
    while not np.array_equal(further := way[way], way):
        way = further
    origins: npt.NDArray[np.intp] = from_[way]
    return origins


def _cloud(side: int, decay: float) -> Floats:
    """A height map of 0 to 1 by the diamond-square algorithm (Fournier et al. 1982), which wraps around.

    Args:
        side: of the map, a power of two.
        decay: what the random part is divided by at each halving of the grid.
    """
    heights = np.zeros((side, side))
    step, spread = side, 100.0

    def displaced(sums: Floats) -> Floats:
        return sums / 4 + spread * np.random.uniform(-spread, spread, sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        heights[half::step, half::step] = displaced(pairs + np.roll(pairs, -1, 1))
        centres = heights[half::step, half::step]
        beside = corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = displaced(centres + np.roll(centres, 1, 0) + beside)
        above = corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = displaced(centres + np.roll(centres, 1, 1) + above)
        step = half
        spread /= decay
    heights -= heights.min()
    return cast(Floats, heights / heights.max())
