"""Reading pictures into arrays, the same way for the PyTorch reference and for every engine.

EXIF orientation is applied to images, never to masks. Grayscale, palette, RGBA and CMYK images become RGB with
one warning; 16-bit images are refused, because scaling them to 8 bits is a choice only their owner can make.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from segexport.errors import DataError, SegexportWarning
from segexport.spec import IGNORE_INDEX, Labels, Size

UInt8 = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"})

_BITS_PER_SAMPLE = 258  # TIFF 6.0, tag 258


class ImageConverted(SegexportWarning):
    """An image was not RGB and has been converted."""


def read_image(path: Path) -> UInt8:
    """An image file as uint8 [height, width, 3] RGB, upright.

    Raises:
        DataError: missing, not an image, truncated, or more than 8 bits a channel.
    """
    return decode_image(read_bytes(path), str(path))


def read_mask(path: Path) -> UInt8 | npt.NDArray[np.int32]:
    """A mask file's class ids, [height, width]; a palette image gives its indices, not its colours.

    Raises:
        DataError: missing, not an image, or coloured.
    """
    return decode_mask(read_bytes(path), str(path))


def decode_image(data: bytes, name: str) -> UInt8:
    """As `read_image`, from the file's bytes; `name` is for messages."""
    with _open(data, name) as image:
        if _bits_per_channel(image, data) > 8:
            raise DataError(f"{name} has 16 bits or more a channel: convert it to 8 bits first")
        return rgb_of(image, name)


def rgb_of(image: Image.Image, name: str) -> UInt8:
    """A Pillow image as uint8 [height, width, 3] RGB, upright; `name` is for messages.

    Raises:
        DataError: it cannot be decoded, or has more than 8 bits a channel.
    """
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has 16 bits or more a channel: convert it to 8 bits first")
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode != "RGB":
            warnings.warn(
                f"{name} is not RGB (Pillow mode {upright.mode}): converted, as is every such image",
                ImageConverted,
                stacklevel=2,
            )
            if upright.mode == "P":  # straight to RGB, Pillow warns of its own about palettes with transparency
                upright = upright.convert("RGBA")
            upright = upright.convert("RGB")
        return np.asarray(upright)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{name} cannot be decoded ({error}): replace the file") from error


def decode_mask(data: bytes, name: str) -> UInt8 | npt.NDArray[np.int32]:
    """As `read_mask`, from the file's bytes; `name` is for messages."""
    with _open(data, name) as image:
        try:
            if image.mode in ("L", "P"):
                return np.asarray(image)
            if image.mode == "1" or image.mode.startswith("I"):
                return np.asarray(image).astype(np.int32)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{name} cannot be decoded ({error}): replace the file") from error
        raise DataError(
            f"{name} is a colour image (mode {image.mode}): masks hold one class id a pixel (PNG mode L or P)"
        )


def decode_colours(data: bytes, name: str) -> npt.NDArray[np.int32]:
    """The colours of a mask file as one number each, R + 256 G + 65536 B, [height, width]; `name` is for messages.

    Raises:
        DataError: not an image, or it cannot be decoded.
    """
    with _open(data, name) as image:
        try:
            rgb = np.asarray(image.convert("RGB"), np.int32)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{name} cannot be decoded ({error}): replace the file") from error
    packed: npt.NDArray[np.int32] = rgb[..., 0] + (rgb[..., 1] << 8) + (rgb[..., 2] << 16)
    return packed


def class_ids(mask: UInt8 | npt.NDArray[np.int32], labels: Labels, name: str, image_size: Size) -> UInt8:
    """A mask checked against its image and the label set, as uint8 [height, width] with 255 = ignore.

    With `labels.reduce` (ADE20K) ids count from 1 and 0 is unlabelled: 0 -> 255, k -> k - 1.

    Raises:
        DataError: another size than the image, or an id outside the label set.
    """
    if mask.shape != image_size:
        raise DataError(
            f"{name} is {mask.shape[0]}x{mask.shape[1]} but its image is {image_size[0]}x{image_size[1]}: "
            "masks must have their image's size"
        )
    ignored = (mask == IGNORE_INDEX) | (mask == 0) if labels.reduce else mask == IGNORE_INDEX
    ids = mask.astype(np.int32) - int(labels.reduce)
    outside = mask[~ignored & ((ids < 0) | (ids >= len(labels)))]
    if outside.size:
        raw = int(outside.max())
        first, last = (1, len(labels)) if labels.reduce else (0, len(labels) - 1)
        raise DataError(
            f"{name} has label id {raw}, but the checkpoint's {len(labels)} classes have ids {first} to {last} "
            "(255 = ignore): map the mask's ids to the checkpoint's, or pass the data it was trained on"
        )
    ids[ignored] = IGNORE_INDEX
    return ids.astype(np.uint8)


def resize_image(image: UInt8, size: Size, resample: int) -> UInt8:
    """Pillow's resize of uint8 [height, width, 3] to `size`; `resample` is Pillow's filter number."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling(resample)))


def resize_nearest(array: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """Nearest-neighbour resize of [height, width] to `size`, sampling at pixel centres, any dtype."""
    height, width = array.shape
    if (height, width) == size:
        return array
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.intp)
    resized: npt.NDArray[Any] = array[rows[:, None], columns[None, :]]
    return resized


def encode_png(array: UInt8, palette: tuple[tuple[int, int, int], ...] | None = None) -> bytes:
    """PNG bytes of uint8 [height, width] (class ids, shown in `palette` where given) or [height, width, 3]."""
    image = Image.fromarray(array)
    if palette is not None:
        image = image.convert("L")
        image.putpalette([channel for colour in palette for channel in colour])
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def overlay(image: UInt8, mask: UInt8, palette: tuple[tuple[int, int, int], ...], opacity: float = 0.5) -> UInt8:
    """The image with its class map's colours laid over it, uint8 [height, width, 3]."""
    colours = np.zeros((256, 3), np.float32)
    colours[: len(palette)] = palette
    return np.rint(image * (1 - opacity) + colours[mask] * opacity).astype(np.uint8)


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: missing, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image Pillow can read: pass PNG, JPEG or the like") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not an image Pillow can read ({error}): pass PNG, JPEG or the like") from error


def _bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Bits a channel as stored: Pillow opens 16-bit RGB files as 8-bit RGB without a word."""
    if image.format == "PNG":
        return data[24]  # IHDR: signature 8, length 4, type 4, width 4, height 4, then bit depth
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if image.format == "PPM":
        fields = b" ".join(line.split(b"#")[0] for line in data[:512].splitlines()).split()
        return 16 if len(fields) > 3 and fields[3].isdigit() and int(fields[3]) > 255 else 8
    return 8
