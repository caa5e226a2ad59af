"""Pictures into arrays: what is converted, what is refused, and what a mask must be."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport.errors import DataError
from segexport.images import (
    ImageConverted,
    class_ids,
    decode_image,
    encode_png,
    overlay,
    read_image,
    read_mask,
    resize_image,
    resize_nearest,
)
from segexport.spec import Labels

ORIENTATION = 0x0112
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
IDS = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40) % 5


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def png_16bit(colour_type: int, channels: int, width: int = 5, height: int = 4) -> bytes:
    """A 16-bit PNG, which Pillow writes in grayscale only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    row = b"\0" + bytes(range(2 * channels)) * width
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row * height)), chunk(b"IEND", b""))
    )


def tiff_16bit_rgb(width: int = 5, height: int = 4) -> bytes:
    """A 16-bit RGB TIFF, which Pillow reads as 8-bit RGB and cannot write."""
    pixels = bytes(range(6)) * width * height
    bits_at = 8 + len(pixels)
    directory_at = bits_at + 6
    tags = [  # number, type (3 short, 4 long), count, value: TIFF 6.0, section 6
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, directory_at) + pixels + struct.pack("<3H", 16, 16, 16) + directory


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_comes_through_untouched_and_without_a_word(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(encoded(Image.fromarray(PIXELS), kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    upright = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.swapaxes(0, 1),
        6: np.rot90(PIXELS, -1),
        7: PIXELS[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(PIXELS, 1),
    }[orientation]
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    found = decode_image(encoded(Image.fromarray(PIXELS), kind, exif=rotated(orientation), **options), "name")
    assert found.shape == upright.shape
    tolerance = 8 if kind == "JPEG" else 0
    assert np.abs(found.astype(int) - upright).max() <= tolerance


def test_orientation_is_not_applied_to_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(encoded(Image.fromarray(IDS), "PNG", exif=rotated(6)))
    assert np.array_equal(read_mask(path), IDS)
    with pytest.warns(ImageConverted):
        assert read_image(path).shape == (40, 24, 3)


def palette_image(**options) -> bytes:
    image = Image.fromarray(IDS).convert("P")
    image.putpalette([channel for i in range(256) for channel in (i, 255 - i, 7)])
    return encoded(image, "PNG", **options)


GRAY = np.repeat(IDS[..., None], 3, 2)
COLOURED = np.stack([IDS, 255 - IDS, np.full_like(IDS, 7)], 2)
BLACK_AND_WHITE = np.where(GRAY > 1, 255, 0)
CONVERTED = {
    "gray": (encoded(Image.fromarray(IDS), "PNG"), GRAY),
    "palette": (palette_image(), COLOURED),
    "palette, one transparent": (palette_image(transparency=2), COLOURED),
    "palette, alpha table": (palette_image(transparency=bytes([0, 128, 255, 3, 4])), COLOURED),
    "gray and alpha": (encoded(Image.merge("LA", [Image.fromarray(IDS)] * 2), "PNG"), GRAY),
    "RGBA": (encoded(Image.fromarray(np.dstack([PIXELS, IDS])), "PNG"), PIXELS),
    "CMYK": (encoded(Image.fromarray(PIXELS).convert("CMYK"), "TIFF"), PIXELS),
    "1-bit": (encoded(Image.fromarray(IDS > 1), "PNG"), BLACK_AND_WHITE),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_other_modes_become_rgb_with_one_warning(tmp_path: Path, case: str) -> None:
    data, expected = CONVERTED[case]
    path = tmp_path / "image.any"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_image(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)
    assert [w.category for w in caught] == [ImageConverted], [str(w.message) for w in caught]
    assert str(path) in str(caught[0].message)


DEEP = {
    "gray PNG": encoded(Image.fromarray(IDS.astype(np.uint16) * 257), "PNG"),
    "RGB PNG": png_16bit(2, 3),
    "gray and alpha PNG": png_16bit(4, 2),
    "RGBA PNG": png_16bit(6, 4),
    "gray TIFF": encoded(Image.fromarray(IDS.astype(np.uint16) * 257), "TIFF"),
    "RGB TIFF": tiff_16bit_rgb(),
    "float TIFF": encoded(Image.fromarray(IDS.astype(np.float32)), "TIFF"),
    "RGB PPM": b"P6\n# a comment\n5 4\n65535\n" + bytes(range(6)) * 20,
    "gray PGM": b"P5 5 4 1023\n" + bytes(range(2)) * 20,
}


@pytest.mark.parametrize("case", DEEP)
def test_more_than_8_bits_are_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "deep"
    path.write_bytes(DEEP[case])
    with Image.open(path) as image:
        image.load()  # the file is good: it is the depth that is refused
    with pytest.raises(DataError, match=r"deep has 16 bits or more a channel: convert"):
        read_image(path)


WHOLE = {kind: encoded(Image.fromarray(PIXELS).resize((200, 160)), kind) for kind in ("PNG", "JPEG")}
BROKEN = {
    "truncated.png": WHOLE["PNG"][: len(WHOLE["PNG"]) // 2],
    "truncated.jpg": WHOLE["JPEG"][: len(WHOLE["JPEG"]) // 2],
    "header-only.png": WHOLE["PNG"][:20],
    "empty.png": b"",
    "text.png": b"This is no picture.\n",
}


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("name", [*BROKEN, "missing.png", "folder.png"])
def test_what_is_no_image_is_named(tmp_path: Path, name: str, read) -> None:
    path = tmp_path / name
    if name in BROKEN:
        path.write_bytes(BROKEN[name])
    elif name == "folder.png":
        path.mkdir()
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.fromarray(IDS), "PNG"), IDS),
        (palette_image(), IDS),
        (palette_image(transparency=2), IDS),
        (encoded(Image.fromarray(IDS > 1), "PNG"), IDS > 1),
        (encoded(Image.fromarray(IDS.astype(np.uint16) * 300), "PNG"), IDS.astype(int) * 300),
    ],
    ids=["L", "P", "P with transparency", "1", "I;16"],
)
def test_masks_give_their_ids(tmp_path: Path, data: bytes, expected: np.ndarray) -> None:
    (tmp_path / "mask.png").write_bytes(data)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), expected)


@pytest.mark.parametrize("case", ["RGBA", "CMYK", "gray and alpha"])
def test_a_coloured_mask_is_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(CONVERTED[case][0])
    with pytest.raises(DataError, match=r"mask\.png is a colour image .* one class id a pixel"):
        read_mask(path)


THREE = Labels(("a", "b", "c"), ((0, 0, 0),) * 3)
THREE_FROM_ONE = Labels(THREE.names, THREE.palette, reduce=True)


@pytest.mark.parametrize(
    ("labels", "raw", "expected"),
    [(THREE, [0, 1, 2, 255], [0, 1, 2, 255]), (THREE_FROM_ONE, [0, 1, 2, 3, 255], [255, 0, 1, 2, 255])],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_class_ids(labels: Labels, raw: list[int], expected: list[int], dtype: type) -> None:
    found = class_ids(np.array([raw], dtype), labels, "mask", (1, len(raw)))
    assert found.dtype == np.uint8
    assert found.tolist() == [expected]


@pytest.mark.parametrize(
    ("labels", "raw", "ids"),
    [
        (THREE, 3, "0 to 2"),
        (THREE, 254, "0 to 2"),
        (THREE, 256, "0 to 2"),
        (THREE, 40_000, "0 to 2"),
        (THREE, -1, "0 to 2"),
        (THREE_FROM_ONE, 4, "1 to 3"),
        (THREE_FROM_ONE, 256, "1 to 3"),  # one less would be the ignored 255
        (THREE_FROM_ONE, -1, "1 to 3"),
    ],
)
def test_an_id_outside_the_labels_is_named_as_it_stands_in_the_file(labels: Labels, raw: int, ids: str) -> None:
    mask = np.array([[1, raw]], np.int32)
    with pytest.raises(DataError, match=rf"m\.png has label id {raw}, but the checkpoint's 3 classes have ids {ids} "):
        class_ids(mask, labels, "m.png", (1, 2))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"m\.png is 2x3 but its image is 3x2"):
        class_ids(np.zeros((2, 3), np.uint8), THREE, "m.png", (3, 2))


@pytest.mark.parametrize("size", [(24, 40), (1, 1), (7, 13), (48, 80), (23, 41), (100, 9), (333, 517)])
def test_nearest_is_pillows(size: tuple[int, int]) -> None:
    """Every pixel whose centre falls inside a source pixel; on a border Pillow's summed-up steps go either way."""
    height, width = 24, 40
    ids = np.random.default_rng(1).integers(0, 256, (height, width), np.uint8)
    pillow = np.asarray(Image.fromarray(ids).resize((size[1], size[0]), Image.Resampling.NEAREST))
    found = resize_nearest(ids, size)
    twice_rows, twice_columns = (2 * np.arange(size[0]) + 1) * height, (2 * np.arange(size[1]) + 1) * width
    inside = np.ix_(twice_rows % (2 * size[0]) != 0, twice_columns % (2 * size[1]) != 0)
    assert np.array_equal(found[inside], pillow[inside])
    assert np.array_equal(found, ids[np.ix_(twice_rows // (2 * size[0]), twice_columns // (2 * size[1]))])
    assert resize_nearest(ids.astype(np.float32), size).dtype == np.float32


def test_resize_image_takes_height_first() -> None:
    assert resize_image(PIXELS, (10, 20), 2).shape == (10, 20, 3)
    assert resize_image(PIXELS, (24, 40), 2) is PIXELS


def test_encode_png_keeps_ids_and_shows_them_in_colour(tmp_path: Path) -> None:
    palette = tuple((10 * i, 20, 30) for i in range(5))
    (tmp_path / "mask.png").write_bytes(encode_png(IDS, palette))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), IDS)
    with pytest.warns(ImageConverted):
        assert np.array_equal(read_image(tmp_path / "mask.png"), np.array(palette)[IDS])
    assert np.array_equal(decode_image(encode_png(PIXELS), "image"), PIXELS)


@pytest.mark.parametrize(("opacity", "expected"), [(0.0, [100, 0, 0]), (1.0, [0, 200, 0]), (0.25, [75, 50, 0])])
def test_overlay_mixes_colours(opacity: float, expected: list[int]) -> None:
    image = np.array([[[100, 0, 0]]], np.uint8)
    assert overlay(image, np.array([[1]], np.uint8), ((9, 9, 9), (0, 200, 0)), opacity).tolist() == [[expected]]
