"""A bootstrap that sees every image once: memory does not grow with their number.

To draw N of N images with replacement is to draw how often each one comes, a multinomial vector; and that is a chain of
binomials (Devroye, "Non-Uniform Random Variate Generation", 1986, chapter XI.1.4): of the draws that are left, image k
gets Binomial(left, 1 / (N - k)). So image after image gets its number of times in all resamples at once, exactly
as if the whole vectors had been drawn, and the same numbers whoever runs it with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from segexport.evaluation.bootstrap import RESAMPLES


def times_drawn(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """For one image after another, how often each resample of all `images` holds it: int64 [resamples].

    The numbers of a resample add up to `images`.
    """
    rng = np.random.default_rng(seed)
    left = np.full(resamples, images, np.int64)
    for image in range(images):
        drawn = rng.binomial(left, 1 / (images - image))
        left -= drawn
        yield drawn
