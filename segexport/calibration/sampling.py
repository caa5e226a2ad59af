"""The images of a calibration: which are drawn, each read once, and what is recorded about them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segexport.datasets import LabelledImages
from segexport.engines.base import as_batch, in_order
from segexport.errors import DataError, SegexportWarning
from segexport.graph.graph import Graph
from segexport.images import UInt8, resize_image
from segexport.precision.ranges import ImageSet

SAMPLES = 64
"""Images a calibration uses unless told; docs/precision.md has how the number changes the result."""


class PlainImage(SegexportWarning):
    """A calibration image of one constant colour."""


@dataclass(frozen=True)
class Picture:
    """One image: its name, and the graph's input made of it, uint8 [N, h, w, 3]."""

    name: str
    batch: UInt8


class Sampled:
    """The drawn images, in the data set's order: read, hashed and prepared as they are iterated over, which is once."""

    def __init__(self, images: LabelledImages, graph: Graph, samples: int | None, seed: int) -> None:
        """Draw without replacement.

        Raises:
            DataError: no images, or fewer than `samples`.
        """
        self._images = images
        self._graph = graph
        self._seed = seed
        self._drawn = drawn(len(images), samples, seed, images.name)
        self._digest = hashlib.sha256()
        self._plain = 0

    def __len__(self) -> int:
        """Number of images drawn."""
        return len(self._drawn)

    def __iter__(self) -> Iterator[Picture]:
        """Read one after the other."""
        for index in self._drawn:
            yield self._read(index)  # held by no variable here, so that the reader alone decides how long it lives

    def facts(self) -> ImageSet:
        """What a table says about its images, once all were read.

        Raises:
            DataError: most are of one constant colour.
        """
        path, count = self._images.name, len(self)
        _require_varied(self._plain, count, path)
        return ImageSet(path, count, len(self._images), self._seed, self._digest.hexdigest())

    def _read(self, index: int) -> Picture:
        sample = self._images.sample(index)
        self._digest.update(sample.name.encode() + sample.image.tobytes())
        self._plain += _is_plain(sample.image)
        return Picture(sample.name, prepared(sample.image, self._graph))


def prepared(image: UInt8, graph: Graph) -> UInt8:
    """A graph's input, uint8 [N, h, w, 3], of one RGB image of any size, as `Segmenter.prepare` makes it."""
    contract = graph.contract
    resized = resize_image(in_order(image, contract), contract.image_size, graph.preprocessing.resample)
    return as_batch(resized, contract)


def drawn(count: int, samples: int | None, seed: int, path: str) -> list[int]:
    """Which of `count` images are taken, in the data set's order; `path` names them in messages.

    Raises:
        DataError: none, or fewer than `samples`.
    """
    if not count:
        raise DataError(f"{path} holds no images to calibrate with: pass a folder of pictures as the camera gives them")
    if samples is not None and samples > count:
        raise DataError(f"{path} holds {count} images, fewer than --samples {samples}: ask for at most {count}")
    order = np.random.default_rng(seed).permutation(count)[: samples or SAMPLES]
    return sorted(int(index) for index in order)


def _is_plain(image: UInt8) -> bool:
    return bool((image == image[:1, :1]).all())


def _require_varied(plain: int, count: int, path: str) -> None:
    remedy = "calibrate with pictures of what the camera will see"
    if 2 * plain > count:
        raise DataError(
            f"{plain} of {count} images of {path} are of one constant colour, which tells no ranges: {remedy}"
        )
    if plain:
        warnings.warn(PlainImage(f"{plain} of {count} images of {path} are of one constant colour"), stacklevel=4)
