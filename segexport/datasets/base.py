"""What labelled images are: a sequence of samples, read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from segexport.datasets.numbering import Masks
from segexport.images import UInt8


@dataclass(frozen=True)
class Sample:
    """One image, uint8 [H, W, 3] RGB, and its class ids, uint8 [H, W] with 255 = ignore (None without masks)."""

    name: str
    image: UInt8
    mask: UInt8 | None
    columns: dict[str, str] = field(default_factory=dict)
    """What else is known of it, by name: its city, the weather."""


@dataclass(frozen=True)
class Stored:
    """One image and its mask as they are stored: the bytes of two image files, and what to call those in a message."""

    name: str
    image: bytes
    image_name: str
    mask: bytes | None
    mask_name: str
    columns: dict[str, str] = field(default_factory=dict)
    segments: npt.NDArray[np.int64] | None = None
    """[segments, 2]: this mask's own ids and the category of each; panoptic masks have them."""


class LabelledImages(Protocol):
    """A sequence of samples, read one at a time."""

    name: str
    """What it is called in a report."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def sample(self, index: int) -> Sample:
        """Read one image and its mask.

        Raises:
            DataError: the image or mask cannot be used; names the file and the value.
        """
        ...

    def sha256(self) -> str:
        """Hash of every name and file, which tells two image sets apart."""
        ...


@runtime_checkable
class StoredImages(LabelledImages, Protocol):
    """Labelled images that also give what is stored, for whoever looks for what is wrong with it."""

    @property
    def masks(self) -> Masks:
        """What the values of these masks mean."""
        ...

    def name_of(self, index: int) -> str:
        """The name of one image, without reading it."""
        ...

    def stored(self, index: int) -> Stored:
        """The bytes of one image and its mask, undecoded and unchecked.

        Raises:
            DataError: a file is missing or cannot be read.
        """
        ...


def as_stored(images: LabelledImages) -> StoredImages:
    """The same images, where they give what is stored; `open_data`, `Subset` and `with_columns` do.

    Raises:
        TypeError: images that are drawn or computed.
    """
    if not isinstance(images, StoredImages):
        raise TypeError(f"{images.name} are not images read from files")
    return images


class Subset:
    """Some images of a data set, by index."""

    def __init__(self, images: LabelledImages, indices: Sequence[int], what: str) -> None:
        self.name = f"{images.name} ({what})"
        self._images = images
        self._indices = tuple(indices)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    @property
    def masks(self) -> Masks:
        """What the values of these masks mean."""
        return as_stored(self._images).masks

    def name_of(self, index: int) -> str:
        """The name of one image."""
        return as_stored(self._images).name_of(self._indices[index])

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        return self._images.sample(self._indices[index])

    def stored(self, index: int) -> Stored:
        """The bytes of one image and its mask."""
        return as_stored(self._images).stored(self._indices[index])

    def sha256(self) -> str:
        """Hash of the whole set's hash and the indices."""
        return hashlib.sha256(f"{self._images.sha256()} {self._indices}".encode()).hexdigest()
