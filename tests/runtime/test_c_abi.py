"""The C interface, called from Python: the same masks, and an answer to every bad call."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure, byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_ssize_t, c_uint8, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from tests.support.checkpoints import SIZE
from tests.support.runtime import RUNTIME

HEADER = RUNTIME / "include" / "segexport" / "segexport_c.h"
OK, ERROR, CONTRACT, UNAVAILABLE, MISMATCH, DATA, CORRUPT, NO_MEMORY, UNKNOWN = range(9)
RGB, BGR, RGBA, BGRA, NV12 = range(5)


class Options(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("device", c_char_p),
        ("stream", c_void_p),
        ("threads", c_int32),
        ("own_sizes", c_int32),
    )


class Image(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("stride", c_ssize_t),
        ("chroma", c_void_p),
        ("chroma_stride", c_ssize_t),
        ("height", c_int32),
        ("width", c_int32),
        ("format", c_int32),
        ("memory", c_int32),
        ("yuv", c_int32),
        ("reserved", c_int32),
    )


class Result(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        ("mask", c_void_p),
        ("mask_stride", c_ssize_t),
        ("confidence", c_void_p),
        ("confidence_stride", c_ssize_t),
        ("height", c_int32),
        ("width", c_int32),
        ("memory", c_int32),
        ("reserved", c_int32),
    )


class Contract(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        *(
            (name, c_int32)
            for name in (
                *("height", "width", "image_height", "image_width", "mask_height", "mask_width", "batch"),
                *("channel_order", "output", "has_confidence", "reduce_labels", "reserved"),
            )
        ),
    )


class Timings(Structure):
    _fields_ = (
        ("struct_size", c_size_t),
        *((name, c_double) for name in ("preprocess_ms", "infer_ms", "postprocess_ms", "total_ms")),
    )


def sized(kind: type[Structure], **values: Any) -> Any:
    return kind(struct_size=ctypes.sizeof(kind), **values)


def image_of(pixels: np.ndarray, order: int = RGB, **values: Any) -> Any:
    height, width = pixels.shape[:2]
    given = {"data": pixels.ctypes.data, "height": height, "width": width, "format": order, "stride": pixels.strides[0]}
    return sized(Image, **{**given, **values})


def result_of(mask: np.ndarray, **values: Any) -> Any:
    given = {"mask": mask.ctypes.data, "height": mask.shape[0], "width": mask.shape[1], "mask_stride": mask.strides[0]}
    return sized(Result, **{**given, **values})


@pytest.fixture(scope="module")
def library(shared_library: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(shared_library))
    found.segexport_version.restype = c_char_p
    found.segexport_last_error.restype = c_char_p
    found.segexport_close.restype = None
    found.segexport_open.argtypes = (c_char_p, c_void_p, c_void_p)
    for name in ("run", "submit"):
        getattr(found, f"segexport_{name}").argtypes = (c_void_p, c_void_p, c_void_p)
    for name in ("wait", "close"):
        getattr(found, f"segexport_{name}").argtypes = (c_void_p,)
    for name in ("contract", "timings", "engine", "precision", "class_count"):
        getattr(found, f"segexport_get_{name}").argtypes = (c_void_p, c_void_p)
    for name in ("class_name", "class_colour"):
        getattr(found, f"segexport_get_{name}").argtypes = (c_void_p, c_int32, c_void_p)
    return found


def opened(library: ctypes.CDLL, folder: Path, **options: Any) -> c_void_p:
    net = c_void_p()
    status = library.segexport_open(str(folder).encode(), byref(sized(Options, threads=1, **options)), byref(net))
    assert status == OK, error(library)
    return net


@pytest.fixture(scope="module")
def net(library: ctypes.CDLL, openvino_bundle: Bundle) -> Iterator[c_void_p]:
    net = opened(library, openvino_bundle.folder)
    yield net
    library.segexport_close(net)


def error(library: ctypes.CDLL) -> str:
    said: bytes = library.segexport_last_error()
    return said.decode()


def refused(library: ctypes.CDLL, status: int, expected: int, *parts: str) -> None:
    said = error(library)
    assert status == expected, said
    assert said
    assert "\n" not in said
    for part in parts:
        assert part in said


@pytest.fixture(scope="module")
def python(openvino_bundle: Bundle) -> Iterator[segexport.Segmenter]:
    with segexport.open(openvino_bundle.folder, threads=1) as net:
        yield net


def scene(size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(scenes.scene(5, size)[0])


@pytest.mark.parametrize("size", [SIZE, (51, 133), (200, 70)])
@pytest.mark.parametrize("order", [RGB, BGR, RGBA, BGRA])
def test_masks_are_those_of_python(library, net, python, size, order) -> None:
    rgb = scene(size)
    turned = rgb[:, :, ::-1] if order in (BGR, BGRA) else rgb
    alpha = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
    image = np.ascontiguousarray(np.concatenate([turned, alpha], axis=2) if order in (RGBA, BGRA) else turned)
    mask = np.full(size, 77, np.uint8)
    status = library.segexport_run(net, byref(image_of(image, order)), byref(result_of(mask)))
    assert status == OK, error(library)
    assert error(library) == ""
    expected = python.run(rgb).mask
    np.testing.assert_array_equal(mask, expected)
    assert len(np.unique(mask)) > 1


def test_rows_with_padding_are_left_alone(library, net, python) -> None:
    size = (51, 133)
    padded = np.zeros((size[0], size[1] + 11, 3), np.uint8)
    padded[:, : size[1]] = scene(size)
    room = np.full((size[0], size[1] + 5), 77, np.uint8)
    image, result = image_of(padded, width=size[1]), result_of(room, width=size[1])
    assert library.segexport_run(net, byref(image), byref(result)) == OK, error(library)
    np.testing.assert_array_equal(room[:, : size[1]], python.run(scene(size)).mask)
    assert (room[:, size[1] :] == 77).all()


def test_two_frames_by_submit_and_wait(library, net, python) -> None:
    """A second submit ends the first frame; wait without a frame is let pass."""
    images = [scene(SIZE), scene((70, 90))]
    masks = [np.full(image.shape[:2], 77, np.uint8) for image in images]
    for image, mask in zip(images, masks, strict=True):
        assert library.segexport_submit(net, byref(image_of(image)), byref(result_of(mask))) == OK, error(library)
    for _ in range(2):
        assert library.segexport_wait(net) == OK, error(library)
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask, python.run(image).mask)
    timings = sized(Timings)
    assert library.segexport_get_timings(net, byref(timings)) == OK
    assert 0 < timings.infer_ms <= timings.total_ms


def test_closing_ends_the_frame_under_way(library, openvino_bundle) -> None:
    net = opened(library, openvino_bundle.folder)
    image, mask = scene(SIZE), np.zeros(SIZE, np.uint8)
    assert library.segexport_submit(net, byref(image_of(image)), byref(result_of(mask))) == OK
    library.segexport_close(net)


def test_confidence(library, net, python) -> None:
    """Of a bundle whose engine ends at logits it costs nothing to build; the winner's share is 1 in 11 at least."""
    image = scene((70, 90))
    found = []
    for call in (library.segexport_run, library.segexport_submit):
        mask, confidence = np.full((70, 90), 77, np.uint8), np.full((70, 96), -1, np.float32)
        result = result_of(mask, confidence=confidence.ctypes.data, confidence_stride=confidence.strides[0])
        assert call(net, byref(image_of(image)), byref(result)) == OK, error(library)
        assert library.segexport_wait(net) == OK, error(library)
        np.testing.assert_array_equal(mask, python.run(image).mask)
        assert (confidence[:, 90:] == -1).all()
        assert 1 / len(python.labels) <= confidence[:, :90].min() < confidence[:, :90].max() <= 1
        found.append(confidence)
    np.testing.assert_array_equal(*found)


@pytest.mark.slow
def test_confidence_of_a_graph_that_computes_it(library, checkpoint, tmp_path) -> None:
    bundle = segexport.build(checkpoint, tmp_path / "scores", engine="openvino", size=SIZE, output="scores")
    image = scene((70, 90))
    mask, confidence = np.full((70, 90), 77, np.uint8), np.full((70, 90), -1, np.float32)
    net, contract = opened(library, bundle.folder), sized(Contract)
    result = result_of(mask, confidence=confidence.ctypes.data)
    assert library.segexport_run(net, byref(image_of(image)), byref(result)) == OK, error(library)
    assert library.segexport_get_contract(net, byref(contract)) == OK
    library.segexport_close(net)
    with segexport.open(bundle.folder, threads=1) as python:
        expected = python.run(image)
    np.testing.assert_array_equal(mask, expected.mask)
    np.testing.assert_array_equal(confidence, expected.confidence)
    assert (contract.output, contract.has_confidence) == (1, 1)


def test_what_a_bundle_says_of_itself(library, net, openvino_bundle) -> None:
    manifest = openvino_bundle.manifest
    text, count, colour = c_char_p(), c_int32(), (c_uint8 * 3)()
    assert library.segexport_get_engine(net, byref(text)) == OK
    assert text.value == b"openvino"
    assert library.segexport_get_precision(net, byref(text)) == OK
    assert text.value == b"fp32"
    assert library.segexport_get_class_count(net, byref(count)) == OK
    assert count.value == len(manifest.labels)
    for id_, name in enumerate(manifest.labels.names):
        assert library.segexport_get_class_name(net, id_, byref(text)) == OK
        assert library.segexport_get_class_colour(net, id_, colour) == OK
        assert text.value is not None
        assert (text.value.decode(), tuple(colour)) == (name, manifest.labels.palette[id_])
    contract = sized(Contract)
    assert library.segexport_get_contract(net, byref(contract)) == OK
    assert (contract.height, contract.width, contract.batch) == (*SIZE, 1)
    assert (contract.image_height, contract.image_width) == manifest.contract.image_size
    assert (contract.mask_height, contract.mask_width) == SIZE
    assert (contract.channel_order, contract.output, contract.has_confidence, contract.reduce_labels) == (RGB, 0, 1, 0)


def test_versions_agree(library) -> None:
    header = re.search(r'#define SEGEXPORT_VERSION "(.*)"', HEADER.read_text())
    build = re.search(r"project\(segexport VERSION (\S+)", (RUNTIME / "CMakeLists.txt").read_text())
    assert header is not None
    assert build is not None
    assert library.segexport_version().decode() == header[1] == build[1] == segexport.__version__


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"data": None}, ["null"]),
        ({"height": 0}, ["0x96"]),
        ({"width": -3}, ["-3"]),
        ({"width": 2**31 - 1}, ["2147483647"]),
        ({"stride": SIZE[1] * 3 - 1}, [str(SIZE[1] * 3 - 1)]),
        ({"stride": -(SIZE[1]) * 3}, [str(-SIZE[1] * 3)]),
        ({"format": 5}, ["segexport_image.format is 5", "0 to 4"]),
        ({"format": -1}, ["segexport_image.format is -1"]),
        ({"memory": 7}, ["segexport_image.memory is 7"]),
        ({"memory": 1}, ["memory"]),
        ({"format": NV12, "stride": 0}, ["chroma"]),
        ({"format": NV12, "yuv": 9}, ["segexport_image.yuv is 9"]),
        ({"struct_size": 0}, ["segexport_image has struct_size 0"]),
        ({"struct_size": 2**40}, ["struct_size 1099511627776"]),
    ],
)
def test_a_foolish_image_is_refused(library, net, changed, parts) -> None:
    image, mask = image_of(scene(SIZE)), np.full(SIZE, 77, np.uint8)
    for name, value in changed.items():
        setattr(image, name, value)
    for call in (library.segexport_run, library.segexport_submit):
        refused(library, call(net, byref(image), byref(result_of(mask))), CONTRACT, *parts)
    assert (mask == 77).all()


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"mask": None}, ["null"]),
        ({"height": SIZE[0] - 1}, [f"{SIZE[0] - 1}x{SIZE[1]}", f"{SIZE[0]}x{SIZE[1]}"]),
        ({"mask_stride": SIZE[1] - 1}, [str(SIZE[1] - 1)]),
        ({"memory": 2}, ["segexport_result.memory is 2"]),
        ({"confidence": 66}, ["confidence", "aligned"]),
        ({"struct_size": 8}, ["segexport_result has struct_size 8"]),
    ],
)
def test_a_foolish_result_is_refused(library, net, changed, parts) -> None:
    result = result_of(np.full(SIZE, 77, np.uint8))
    for name, value in changed.items():
        setattr(result, name, value)
    for call in (library.segexport_run, library.segexport_submit):
        refused(library, call(net, byref(image_of(scene(SIZE))), byref(result)), CONTRACT, *parts)


def test_null_is_refused_everywhere(library, net, openvino_bundle, tmp_path) -> None:
    folder, out = str(openvino_bundle.folder).encode(), c_void_p(1)
    text, count, colour = c_char_p(), c_int32(), (c_uint8 * 3)()
    image, result = image_of(scene(SIZE)), result_of(np.zeros(SIZE, np.uint8))
    refused(library, library.segexport_open(folder, None, None), CONTRACT, "out is null")
    refused(library, library.segexport_open(None, None, byref(out)), CONTRACT, "bundle is null")
    assert out.value is None
    for call in (library.segexport_run, library.segexport_submit):
        refused(library, call(None, byref(image), byref(result)), CONTRACT, "segexport_segmenter is null")
        refused(library, call(net, None, byref(result)), CONTRACT, "segexport_image is null")
        refused(library, call(net, byref(image), None), CONTRACT, "segexport_result is null")
    refused(library, library.segexport_wait(None), CONTRACT, "segexport_segmenter is null")
    for name, filled in (
        *(("contract", sized(Contract)), ("timings", sized(Timings))),
        *(("engine", text), ("precision", text), ("class_count", count)),
    ):
        get = getattr(library, f"segexport_get_{name}")
        refused(library, get(None, byref(filled)), CONTRACT, "segexport_segmenter is null")
        refused(library, get(net, None), CONTRACT, "null")
    for name, filled in (("class_name", byref(text)), ("class_colour", colour)):
        get = getattr(library, f"segexport_get_{name}")
        refused(library, get(None, 0, filled), CONTRACT, "segexport_segmenter is null")
        refused(library, get(net, 0, None), CONTRACT, "out is null")
        for id_ in (-1, 255, 2**31 - 1):
            refused(library, get(net, id_, filled), CONTRACT, f"no class {id_}:")
    library.segexport_close(None)
    assert error(library) == ""


def test_a_bundle_that_cannot_be_opened(library, openvino_bundle, tmp_path) -> None:
    out = c_void_p()

    def open_it(folder: Path, **options: Any) -> int:
        out.value = 1
        status: int = library.segexport_open(str(folder).encode(), byref(sized(Options, **options)), byref(out))
        assert out.value is None
        return status

    refused(library, open_it(tmp_path / "nowhere"), CORRUPT, str(tmp_path / "nowhere"))
    refused(library, open_it(openvino_bundle.folder, threads=-1), CONTRACT, "-1 threads")
    refused(library, open_it(openvino_bundle.folder, device=b"NPU.7"), UNAVAILABLE, "NPU.7")
    short = library.segexport_open(b"/nowhere", byref(Options(struct_size=3)), byref(out))
    refused(library, short, CONTRACT, "segexport_options has struct_size 3")


def test_structs_of_later_versions(library, net) -> None:
    """A longer struct is understood while what it adds is zero, and filled with zeros in return."""

    class LaterOptions(Structure):
        _fields_ = (*Options._fields_, ("added", c_double))

    class LaterTimings(Structure):
        _fields_ = (*Timings._fields_, ("added", c_float))

    out = c_void_p()
    later = LaterOptions(struct_size=ctypes.sizeof(LaterOptions))
    assert library.segexport_open(b"/nowhere", byref(later), byref(out)) == CORRUPT
    later.added = 1
    refused(library, library.segexport_open(b"/nowhere", byref(later), byref(out)), CONTRACT, "does not know")
    timings = LaterTimings(struct_size=ctypes.sizeof(LaterTimings), added=5)
    assert library.segexport_get_timings(net, byref(timings)) == OK
    assert (timings.struct_size, timings.added) == (ctypes.sizeof(LaterTimings), 0)


def test_errors_are_each_threads_own(library) -> None:
    refused(library, library.segexport_wait(None), CONTRACT)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(error, library).result() == ""
    assert error(library) != ""


@pytest.mark.parametrize("standard", ["c99", "c11", "c++17"])
def test_the_header_is_strict(standard: str, tmp_path: Path) -> None:
    language = "c++" if standard.startswith("c++") else "c"
    source = tmp_path / "header.c"
    source.write_text('#include "segexport/segexport_c.h"\nint main(void) { return SEGEXPORT_OK; }\n')
    subprocess.run(
        [
            *("gcc", f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language),
            *(f"-I{RUNTIME / 'include'}", "-fsyntax-only", str(source)),
        ],
        check=True,
    )


def test_what_the_header_declares_is_there(library) -> None:
    declared = set(re.findall(r"SEGEXPORT_API .*?(segexport_\w+)\(", HEADER.read_text()))
    assert len(declared) == 14
    for name in declared:
        assert hasattr(library, name), name


def test_layouts_are_those_of_the_header(tmp_path: Path) -> None:
    """This file's structs and the header's have the same fields in the same places."""
    structs = {"options": Options, "image": Image, "result": Result, "contract": Contract, "timings": Timings}
    lines = [
        f'printf("{name}.{field[0]} %zu\\n", offsetof(segexport_{name}, {field[0]}));'
        for name, struct in structs.items()
        for field in struct._fields_
    ]
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include <stdio.h>\n#include "segexport/segexport_c.h"\nint main(void) {{ {"".join(lines)} return 0; }}\n'
    )
    program = tmp_path / "layout"
    subprocess.run(["gcc", "-std=c99", f"-I{RUNTIME / 'include'}", str(source), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    expected = [
        f"{name}.{field[0]} {getattr(struct, field[0]).offset}"
        for name, struct in structs.items()
        for field in struct._fields_
    ]
    assert said.splitlines() == expected
