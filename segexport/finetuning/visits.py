"""The order in which images are visited, fixed by the seed alone.

Visit v of a training belongs to step v // batch and, in pass v // images over the data, to the image that the pass's
own permutation puts there; its augmentation is drawn from (seed, v). So a visit is the same whichever process makes
it, and whether or not the training was interrupted before it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.datasets import LabelledImages, Sample
from segexport.errors import DataError
from segexport.finetuning.schedule import Schedule
from segexport.finetuning.transforms import Augmentation

_ORDER, _VIEW = 0, 1


@lru_cache(maxsize=2)
def _order(seed: int, turn: int, images: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, turn)).permutation(images)


class Visits:
    """Augmented images by the number of their visit."""

    def __init__(
        self, images: LabelledImages, augmentation: Augmentation, schedule: Schedule, batch: int, skip_bad: bool
    ) -> None:
        if not len(images):
            raise DataError(f"{images.name} holds no images to train on")
        self._images, self._augmentation, self._schedule = images, augmentation, schedule
        self._batch, self._skip_bad = batch, skip_bad

    def image_of(self, visit: int) -> int:
        """Index of the image that a visit goes to."""
        turn, place = divmod(visit, len(self._images))
        return int(_order(self._augmentation.recipe.seed, turn, len(self._images))[place])

    def __call__(self, rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        """For `datasets`: the column `visit` becomes `image`, uint8 [h, w, 3], and `mask`, uint8 [h, w].

        Raises:
            DataError: an image or mask cannot be used, and is not to be skipped.
        """
        views = [self.view(visit) for visit in rows["visit"]]
        return {"image": [image for image, _ in views], "mask": [mask for _, mask in views]}

    def view(self, visit: int) -> tuple[Any, Any]:
        """The augmented image and mask of one visit."""
        sample = self._sample(visit)
        assert sample.mask is not None
        rng = np.random.default_rng((self._augmentation.recipe.seed, _VIEW, visit))
        stride = 2 if self._schedule.coarse(visit // self._batch) else 1
        return self._augmentation(sample.image, sample.mask, rng, stride)

    def _sample(self, visit: int) -> Sample:
        """The visit's image, or the next that can be read."""
        first = self.image_of(visit)
        for offset in range(len(self._images)):
            try:
                return self._images.sample((first + offset) % len(self._images))
            except DataError:
                if not self._skip_bad:
                    raise
        raise DataError(f"none of the {len(self._images)} images of {self._images.name} can be read")
