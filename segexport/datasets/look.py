"""One image and its mask looked at as they are: what is there, and what is wrong, without raising."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from segexport.datasets.base import StoredImages
from segexport.datasets.numbering import Values
from segexport.errors import DataError
from segexport.images import ImageConverted, decode_colours, decode_image
from segexport.spec import Size

_ORIENTATION = 0x0112  # EXIF 2.3
_TRANSPOSED = 5  # orientations from 5 on swap height and width
_COLOURED = ("RGB", "RGBA", "CMYK", "YCbCr", "LA", "PA")
_COLOURS = 256


@dataclass(frozen=True)
class Look:
    """What one image and its mask are; an error's text where one of them cannot be used.

    `image_size` is upright, as models see it, `stored_size` as stored. `values` and `counts`, int64 [n], are a mask's
    values as stored and their pixels, `ids` int16 [n] what the label set has them as (see `Masks.classify`).
    """

    name: str
    image_name: str
    mask_name: str
    image_size: Size | None = None
    stored_size: Size | None = None
    image_mode: str = ""
    orientation: int = 1
    image_sha256: str = ""
    image_error: str = ""
    has_mask: bool = False
    mask_size: Size | None = None
    mask_format: str = ""
    mask_mode: str = ""
    mask_error: str = ""
    values: npt.NDArray[np.int64] | None = None
    counts: npt.NDArray[np.int64] | None = None
    ids: npt.NDArray[np.int16] | None = None
    colours: tuple[int, ...] = ()
    """Of a mask that is coloured where ids are expected: its colours, R + 256 G + 65536 B, the commonest first."""


def chosen(count: int, most: int, seed: int) -> list[int]:
    """The indices to look at: all, or `most` drawn with `seed`, in order."""
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())


def looks(images: StoredImages, indices: list[int]) -> Iterator[Look]:
    """Look at some images, one after the other."""
    for index in indices:
        yield look(images, index)


def look(images: StoredImages, index: int) -> Look:
    """Read and decode one image and its mask."""
    name = images.name_of(index)
    try:
        stored = images.stored(index)
    except DataError as error:
        return Look(name, name, name, image_error=str(error))
    found: dict[str, object] = {"has_mask": stored.mask is not None}
    found["image_sha256"] = hashlib.sha256(stored.image).hexdigest()
    try:
        with Image.open(io.BytesIO(stored.image)) as image:
            found["image_mode"] = image.mode
            found["orientation"] = int(image.getexif().get(_ORIENTATION, 1))
            found["stored_size"] = (image.height, image.width)
    except Exception:  # decode_image says what is wrong
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageConverted)
            height, width = decode_image(stored.image, stored.image_name).shape[:2]
        found["image_size"] = (height, width)
    except DataError as error:
        found["image_error"] = str(error)
    if stored.mask is not None:
        found |= _mask(stored.mask)
        try:
            raw = images.masks.raw(stored.mask, stored.mask_name)
            values, counts = _counted(raw)
            found["mask_size"] = (raw.shape[0], raw.shape[1])
            found |= {"values": values.astype(np.int64), "counts": counts}
            found["ids"] = images.masks.classify(values, stored.segments)
        except DataError as error:
            found["mask_error"] = str(error)
            found["colours"] = _colours(stored.mask) if found.get("mask_mode") in _COLOURED else ()
    return Look(name, stored.image_name, stored.mask_name, **found)  # type: ignore[arg-type]


def is_transposed(one: Look) -> bool:
    """Whether the image is turned by its EXIF orientation, and the mask has the size of the image unturned."""
    return (
        one.orientation >= _TRANSPOSED
        and one.mask_size is not None
        and one.mask_size == one.stored_size != one.image_size
    )


def _mask(data: bytes) -> dict[str, object]:
    try:
        with Image.open(io.BytesIO(data)) as mask:
            return {"mask_format": mask.format or "", "mask_mode": mask.mode, "mask_size": (mask.height, mask.width)}
    except Exception:  # Masks.raw says what is wrong
        return {}


def _colours(data: bytes) -> tuple[int, ...]:
    try:
        values, counts = np.unique(decode_colours(data, ""), return_counts=True)
    except DataError:
        return ()
    return tuple(values[np.argsort(-counts)][:_COLOURS].tolist())


def _counted(raw: Values) -> tuple[Values, npt.NDArray[np.int64]]:
    """Values that occur and how often; of a uint8 mask by counting, which takes no sorting."""
    if raw.dtype == np.uint8:
        counts = np.bincount(raw.ravel(), minlength=256)
        values = np.flatnonzero(counts).astype(np.uint8)
        return values, counts[values].astype(np.int64)
    values, counts = np.unique(raw, return_counts=True)
    return values, counts.astype(np.int64)
