"""The runtime's preprocessing is Pillow's, bit by bit: on the CPU, and what the CUDA kernels' threads compute."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from segexport.images import UInt8, resize_image
from segexport.spec import FILTERS, Size
from tests.support.cuda import architectures, needs_nvcc
from tests.support.properties import examples
from tests.support.resizing import PICTURES, black_and_white, noise, on_onnxruntime
from tests.support.resizing import model as resize_model

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "runtime"
INCLUDE = f"-I{RUNTIME / 'include'}"
SHIM = Path(__file__).with_name("preprocess_shim.cpp")
ON_GPU = Path(__file__).with_name("preprocess_on_gpu.cu")
STRICT = [
    *("g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"),
    *("-Werror", "-ffp-contract=off", "-pthread", INCLUDE),
]
QUICK = "sm_87"
ARCHITECTURES = [
    pytest.param(f"sm_{one}", marks=[] if f"sm_{one}" == QUICK else pytest.mark.slow)
    for one in (75, 80, 86, 87, 89, 90, 110, 120)
]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

RGB, BGR, RGBA, BGRA, NV12 = range(5)  # segexport::PixelFormat
YUV = ("bt601_limited", "bt601_full", "bt709_limited", "bt709_full")  # segexport::Yuv
BILINEAR, BICUBIC = 2, 3
SIDES = st.integers(1, 70)
SIZES = st.tuples(SIDES, SIDES)
GUARD = 64


@dataclass(frozen=True)
class Picture:
    """An image in memory, as a camera may give it; NV12's chroma is a plane of its own."""

    planes: tuple[UInt8, ...]
    size: Size
    format: int = RGB
    yuv: int = 0


@dataclass(frozen=True)
class Wanted:
    size: Size
    resample: int = BILINEAR
    order: int = RGB


class _Image(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("data", "chroma")),
        *((name, ctypes.c_int64) for name in ("stride", "chroma_stride")),
        *((name, ctypes.c_int32) for name in ("height", "width", "format", "yuv")),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("height", "width", "order", "resample")),
    )


@dataclass
class Shim:
    """What preprocess_shim.cpp gives, compiled."""

    library: ctypes.CDLL
    call: str
    more: Sequence[ctypes.c_int32] = field(default=())

    def __call__(self, picture: Picture, wanted: Wanted) -> UInt8:
        """uint8 [*wanted.size, 3]; what lies before and behind must stay as it was."""
        height, width = wanted.size
        memory = np.full(2 * GUARD + height * width * 3, 77, np.uint8)
        found = memory[GUARD:-GUARD].reshape(height, width, 3)
        first, last = picture.planes[0], picture.planes[-1]
        image = _Image(
            *(first.ctypes.data, last.ctypes.data, first.strides[0], last.strides[0]),
            *(*picture.size, picture.format, picture.yuv),
        )
        result = _Result(found.ctypes.data, height, width, wanted.order, wanted.resample)
        getattr(self.library, self.call)(ctypes.byref(image), ctypes.byref(result), *self.more)
        assert (memory[:GUARD] == 77).all()
        assert (memory[-GUARD:] == 77).all()
        return found


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return _compiled(tmp_path_factory.mktemp("preprocess") / "shim.so")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Without the instruction sets that are chosen at load time."""
    return _compiled(tmp_path_factory.mktemp("preprocess") / "baseline.so", "-DSEGEXPORT_RESIZE_CLONES=")


def _compiled(built: Path, *flags: str) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    subprocess.run([*STRICT, *flags, "-O2", "-fPIC", "-shared", str(SHIM), "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


@pytest.fixture(scope="module")
def cpu(library: ctypes.CDLL) -> Shim:
    return Shim(library, "preprocess", [ctypes.c_int32(1)])


@pytest.fixture(scope="module")
def everyone(library: ctypes.CDLL, baseline: ctypes.CDLL) -> list[Shim]:
    """On one core, shared by three, on an old processor, and as a GPU computes it."""
    one, three = ctypes.c_int32(1), ctypes.c_int32(3)
    return [
        Shim(library, "preprocess", [one]),
        Shim(library, "preprocess", [three]),
        Shim(baseline, "preprocess", [one]),
        Shim(library, "preprocess_by_threads"),
    ]


def padded(rows: UInt8, padding: int, rng: np.random.Generator) -> UInt8:
    """The same rows, [height, bytes], with noise behind each."""
    memory = rng.integers(0, 256, (rows.shape[0], rows.shape[1] + padding), dtype=np.uint8)
    memory[:, : rows.shape[1]] = rows
    return memory[:, : rows.shape[1]]


def picture_of(rgb: UInt8, layout: int, padding: int = 0, seed: int = 0) -> Picture:
    """uint8 [height, width, 3] RGB as a packed format."""
    rng = np.random.default_rng(seed)
    channels = rgb[..., ::-1] if layout in (BGR, BGRA) else rgb
    if layout in (RGBA, BGRA):
        alpha = rng.integers(0, 256, (*rgb.shape[:2], 1), dtype=np.uint8)
        channels = np.concatenate([channels, alpha], -1)
    rows = np.ascontiguousarray(channels).reshape(len(rgb), -1)
    return Picture((padded(rows, padding, rng),), (rgb.shape[0], rgb.shape[1]), layout)


def noise_nv12(size: Size, yuv: int, padding: int = 0, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    height, width = size
    luma = rng.integers(0, 256, (height, width), dtype=np.uint8)
    chroma = rng.integers(0, 256, (height // 2, width), dtype=np.uint8)
    return Picture((padded(luma, padding, rng), padded(chroma, 2 * padding, rng)), size, NV12, yuv)


def pixels_of_nv12(picture: Picture) -> UInt8:
    """Y, U and V of every pixel, [height, width, 3]."""
    luma, chroma = picture.planes
    pairs = np.stack([chroma[:, ::2], chroma[:, 1::2]], -1)
    return np.concatenate([luma[..., None], pairs.repeat(2, 0).repeat(2, 1)], -1)


def yuv_matrix(yuv: int) -> tuple[np.ndarray, int]:
    """From (Y - zero, U - 128, V - 128) to RGB in float64, and zero: ITU-R BT.601-7 and BT.709-6."""
    red, blue = (0.299, 0.114) if "601" in YUV[yuv] else (0.2126, 0.0722)
    green = 1 - red - blue
    luma, chroma = (255 / 219, 255 / 224) if "limited" in YUV[yuv] else (1, 1)
    v_to_red, u_to_blue = chroma * 2 * (1 - red), chroma * 2 * (1 - blue)
    matrix = [
        [luma, 0, v_to_red],
        [luma, -u_to_blue * blue / green, -v_to_red * red / green],
        [luma, u_to_blue, 0],
    ]
    return np.array(matrix), 16 if "limited" in YUV[yuv] else 0


def exactly(pixels: UInt8, yuv: int) -> np.ndarray:
    """RGB in float64, neither rounded nor clipped."""
    matrix, zero = yuv_matrix(yuv)
    return (pixels.astype(np.float64) - [zero, 128, 128]) @ matrix.T


def in_whole_numbers(pixels: UInt8, yuv: int) -> UInt8:
    """The formula of yuv.hpp."""
    matrix, zero = yuv_matrix(yuv)
    fixed = np.trunc(matrix * 2**16 + np.copysign(0.5, matrix)).astype(np.int64)
    sums = (pixels.astype(np.int64) - [zero, 128, 128]) @ fixed.T
    return np.clip((sums + 2**15) >> 16, 0, 255).astype(np.uint8)


def in_order(rgb: UInt8, order: int) -> UInt8:
    return rgb[..., ::-1] if order == BGR else rgb


def same_order_as_installed(source: Size, size: Size) -> bool:
    """The runtime resamples rows first where Pillow 13 does; an older one never does."""
    rows_first = source[0] - size[0] > max(0, 2 * (source[1] - size[1]))
    return not rows_first or int(PIL.__version__.split(".")[0]) >= 13


@examples(250)
@given(
    source=SIZES,
    size=SIZES,
    kept=st.sampled_from(["", "", "", "height", "width", "size"]),
    resample=st.sampled_from(FILTERS),
    layout=st.sampled_from([RGB, BGR, RGBA, BGRA]),
    order=st.sampled_from([RGB, BGR]),
    padding=st.sampled_from([0, 0, 1, 7, 64]),
    make=st.sampled_from(PICTURES),
    seed=st.integers(0, 99),
)
@example((1, 1), (70, 70), "", 1, RGB, RGB, 0, noise, 0)
@example((70, 70), (1, 1), "", 1, BGRA, RGB, 0, noise, 0)
@example((70, 3), (2, 3), "", 3, BGR, BGR, 0, black_and_white, 0)
def test_every_pixel_is_pillows(
    everyone: list[Shim], source: Size, size: Size, kept: str, resample, layout, order, padding, make, seed
) -> None:
    size = {"height": (source[0], size[1]), "width": (size[0], source[1]), "size": source}.get(kept, size)
    assume(same_order_as_installed(source, size))
    rgb = make(source, seed)
    want = in_order(resize_image(rgb, size, resample), order)
    for shim in everyone:
        found = shim(picture_of(rgb, layout, padding, seed), Wanted(size, resample, order))
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((1080, 1920), (512, 512)),
        ((1920, 1080), (512, 512)),  # Pillow 13 resamples the rows first
        ((720, 1280), (480, 853)),  # 3 to 2: half levels
        ((360, 480), (512, 1024)),
        ((3000, 40), (7, 40)),
    ],
    ids=str,
)
def test_sizes_of_cameras(cpu: Shim, source: Size, size: Size, resample: int) -> None:
    if not same_order_as_installed(source, size):
        pytest.skip(f"Pillow {PIL.__version__} resamples the columns first here, Pillow 13 the rows")
    for make in (noise, black_and_white):
        rgb = make(source, 1)
        np.testing.assert_array_equal(
            cpu(picture_of(rgb, RGB), Wanted(size, resample)), resize_image(rgb, size, resample)
        )


@examples(60)
@given(
    half=st.tuples(st.integers(1, 35), st.integers(1, 35)),
    size=SIZES,
    resample=st.sampled_from(FILTERS),
    yuv=st.integers(0, 3),
    order=st.sampled_from([RGB, BGR]),
    padding=st.sampled_from([0, 5, 32]),
    seed=st.integers(0, 99),
)
def test_nv12_is_turned_into_rgb_and_then_resized(
    everyone: list[Shim], half: Size, size: Size, resample: int, yuv: int, order: int, padding: int, seed: int
) -> None:
    source = (2 * half[0], 2 * half[1])
    assume(same_order_as_installed(source, size))
    picture = noise_nv12(source, yuv, padding, seed)
    rgb = in_whole_numbers(pixels_of_nv12(picture), yuv)
    want = in_order(resize_image(rgb, size, resample), order)
    for shim in everyone:
        np.testing.assert_array_equal(shim(picture, Wanted(size, resample, order)), want)
        np.testing.assert_array_equal(shim(picture, Wanted(source, resample, order)), in_order(rgb, order))


@pytest.mark.parametrize("yuv", range(4), ids=lambda yuv: YUV[yuv])
def test_luma_and_chroma_are_the_standards(library: ctypes.CDLL, yuv: int) -> None:
    """Every luma with every third chroma: the formula exactly, and the real value rounded, but for near halves."""
    levels, some = np.arange(256, dtype=np.uint8), np.arange(0, 256, 3, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, some, some, indexing="ij"), -1).reshape(-1, 3)
    found = np.empty_like(pixels)
    library.yuv_to_rgb(
        yuv, ctypes.c_void_p(pixels.ctypes.data), ctypes.c_void_p(found.ctypes.data), ctypes.c_int64(len(pixels))
    )
    np.testing.assert_array_equal(found, in_whole_numbers(pixels, yuv))
    exact = exactly(pixels, yuv)
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.502
    rounded = np.clip(np.floor(exact + 0.5), 0, 255)
    assert (found == rounded).mean() > 0.999
    assert np.abs(found - rounded).max() <= 1


@needs_compiler
@pytest.mark.parametrize(("source", "size"), [((540, 960), (256, 256)), ((90, 120), (128, 128))], ids=str)
def test_as_the_graph_resizes(everyone: list[Shim], source: Size, size: Size) -> None:
    """A bundle built with --source-size has the resize in its graph."""
    image = noise(source, 3)
    want = on_onnxruntime(resize_model(source, size, BILINEAR))(image[None])[0].astype(np.uint8)
    for shim in everyone:
        np.testing.assert_array_equal(shim(picture_of(image, BGRA), Wanted(size, BILINEAR)), want)


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_makes_kernels_without_spills(tmp_path: Path, architecture: str) -> None:
    if architecture not in architectures():
        pytest.skip(f"this nvcc has no {architecture}")
    command = ["nvcc", "-std=c++17", f"-arch={architecture}", "-Xptxas", "-v", "-Werror", "all-warnings", INCLUDE]
    done = subprocess.run(
        [*command, "-Xcompiler", "-Wall,-Wextra", "-c", str(ON_GPU), "-o", str(tmp_path / "on_gpu.o")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    kernels = sum("Compiling entry function" in line for line in said)
    assert kernels == 12  # RGB and NV12: nearest, 2 axes to 2 targets; words: 2 axes
    assert sum("0 bytes spill stores, 0 bytes spill loads" in line for line in said) == kernels


@needs_nvcc
@pytest.mark.gpu
@pytest.mark.slow
def test_a_gpu_computes_the_same_bits(tmp_path: Path) -> None:
    """Every format and filter, launched and from a CUDA graph."""
    built = tmp_path / "on_gpu"
    command = ["nvcc", "-std=c++17", "-arch=native", INCLUDE, str(ON_GPU), "-o", str(built)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([built], check=False, capture_output=True, text=True)
    if done.returncode == 77:
        assert done.stdout.startswith("preprocessing on the GPU failed: cudaMalloc: ")
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout
