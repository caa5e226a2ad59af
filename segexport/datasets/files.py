"""Labelled images that are files: pairs from a layout's listing, read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from segexport.datasets.base import Sample, Stored
from segexport.datasets.layout import Layout, Pair
from segexport.datasets.numbering import Masks
from segexport.errors import DataError
from segexport.files import sha256_of
from segexport.images import IMAGE_SUFFIXES, decode_image, read_bytes
from segexport.spec import Labels


class FileImages:
    """Pairs of files. Nothing is read before a sample is asked for."""

    def __init__(self, name: str, pairs: Sequence[Pair], masks: Masks) -> None:
        self.name = name
        self.masks = masks
        self.pairs = pairs

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pairs)

    def name_of(self, index: int) -> str:
        """The name of one image."""
        return self.pairs[index].name

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        return decoded(self.stored(index), self.masks)

    def stored(self, index: int) -> Stored:
        """The bytes of one image and its mask."""
        pair = self.pairs[index]
        image = read_bytes(Path(pair.image))
        mask = read_bytes(Path(pair.mask)) if pair.has_mask else None
        return Stored(pair.name, image, pair.image, mask, pair.mask, dict(pair.columns), pair.segments)

    def sha256(self) -> str:
        """Hash over the names and bytes of the files used."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            digest.update(pair.name.encode())
            digest.update(sha256_of(Path(pair.image)).encode())
            digest.update(sha256_of(Path(pair.mask)).encode() if pair.has_mask else b"-")
        return digest.hexdigest()


def decoded(stored: Stored, masks: Masks) -> Sample:
    """A sample of what is stored: the image as RGB, the mask as the label set's ids.

    Raises:
        DataError: the image or the mask cannot be used.
    """
    image = decode_image(stored.image, stored.image_name)
    if stored.mask is None:
        return Sample(stored.name, image, None, stored.columns)
    size = (image.shape[0], image.shape[1])
    ids = masks.ids(stored.mask, stored.mask_name, size, stored.segments)
    return Sample(stored.name, image, ids, stored.columns)


def open_split(layout: Layout, split: str, labels: Labels, limit: int | None, need_masks: bool) -> FileImages:
    """One split of a layout.

    Where no masks are needed, those whose classes are not the label set's are left out.

    Raises:
        DataError: no images, an image without a mask, or other classes than the label set's.
    """
    chosen = layout.splits[split]
    name = f"{layout.path} ({split})" if split else str(layout.path)
    listing = chosen.list()
    if not listing.pairs:
        raise DataError(f"{chosen.images} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    pairs = listing.pairs[:limit]
    if not any(pair.has_mask for pair in listing.pairs) and not listing.orphans:
        if need_masks:
            where = chosen.folder or chosen.images
            raise DataError(f"{where} holds images but no masks: put one masks/NAME.png beside each images/NAME")
        return FileImages(name, pairs, Masks(labels, None, name))
    missing = next((pair for pair in pairs if not pair.has_mask), None)
    if missing is not None:
        raise DataError(f"{missing.image} has no mask: {missing.mask} is missing")
    try:
        return FileImages(name, pairs, Masks(labels, layout.numbering, name))
    except DataError:
        if need_masks:
            raise
        without = tuple(pair._replace(has_mask=False) for pair in pairs)
        return FileImages(name, without, Masks(labels, None, name))
