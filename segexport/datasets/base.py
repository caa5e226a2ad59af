"""What labelled images are: a sequence of samples, read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from segexport.images import UInt8


@dataclass(frozen=True)
class Sample:
    """One image, uint8 [H, W, 3] RGB, and its class ids, uint8 [H, W] with 255 = ignore (None without masks)."""

    name: str
    image: UInt8
    mask: UInt8 | None
    columns: dict[str, str] = field(default_factory=dict)
    """What else is known of it, by name: its city, the weather."""


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


class Subset:
    """Some images of a data set, by index."""

    def __init__(self, images: LabelledImages, indices: Sequence[int], what: str) -> None:
        self.name = f"{images.name} ({what})"
        self._images = images
        self._indices = tuple(indices)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        return self._images.sample(self._indices[index])

    def sha256(self) -> str:
        """Hash of the whole set's hash and the indices."""
        return hashlib.sha256(f"{self._images.sha256()} {self._indices}".encode()).hexdigest()
