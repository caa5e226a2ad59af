"""The CUDA kernel for class maps: its threads on the CPU, its compilers, and, where there is a GPU, itself."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segexport import native
from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import Size
from segexport.tensorrt import kernel
from segexport.tensorrt.kernel import ClassMapKernel, compile_kernel, constant, launch_grid
from tests.support.class_maps import (
    CLASSES,
    KINDS,
    OnnxRuntime,
    assert_equal_maps,
    few_values,
    logits_of,
    noise,
    on_the_border,
    streets,
    upsampled,
    winner_inside,
)
from tests.support.cuda import CAPABILITIES, architectures, needs_nvcc
from tests.support.properties import examples

ROOT = Path(__file__).parents[2]
INCLUDE = f"-I{ROOT / 'runtime' / 'include'}"
THREADS = Path(__file__).with_name("class_map_threads.cpp")
STRICT = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off"]
DRIVER = Path(__file__).with_name("cuda_on_cpu.cpp")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_native = pytest.mark.skipif(not native.available(), reason=native.MISSING)

Threads = Callable[[np.ndarray, Size], np.ndarray]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel's threads as C functions."""
    built = tmp_path_factory.mktemp("threads") / "threads.so"
    subprocess.run([*STRICT, "-O2", "-fPIC", "-shared", INCLUDE, str(THREADS), "-o", str(built)], check=True)
    found = ctypes.CDLL(str(built))
    found.blocks.restype = ctypes.c_ulonglong
    found.pieces.restype = ctypes.c_uint
    found.widened.restype = found.source_weight.restype = ctypes.c_float
    found.widened.argtypes = [ctypes.c_ushort]
    return found


@pytest.fixture(scope="module")
def threads(library: ctypes.CDLL) -> Threads:
    """Every thread of a launch, one after another: planar logits, size -> class maps."""

    def run(logits: np.ndarray, size: Size) -> np.ndarray:
        assert logits.flags.c_contiguous
        images, classes, height, width = logits.shape
        found = np.full((images, *size), 255, np.uint8)  # no class: a pixel that nobody writes shows
        call = getattr(library, f"run_{logits.dtype}")
        call(_address(logits), images, classes, height, width, _address(found), *size)
        return found

    return run


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def a_rounding_apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rounding decides one pixel in a thousand: only who leaves out the same classes gets the same bits."""
    return 0.9 + rng.integers(0, 3, shape) * 2.0**-24


def planar(logits: np.ndarray) -> np.ndarray:
    """[N, h, w, classes] -> [N, classes, h, w]."""
    return np.ascontiguousarray(logits.transpose(0, 3, 1, 2))


@needs_compiler
class TestThreads:
    @needs_native
    @given(
        kind=st.sampled_from([*KINDS, a_rounding_apart]),
        seed=st.integers(0, 2**32 - 1),
        batch=st.integers(1, 3),
        grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
        classes=CLASSES,
        dtype=st.sampled_from([np.float16, np.float32]),
    )
    @examples(150)
    @example(winner_inside, 0, 2, (4, 5), (16, 20), 3, np.float16)
    @example(on_the_border, 0, 1, (5, 7), (5, 7), 17, np.float32)
    @example(noise, 0, 1, (9, 9), (2, 3), 255, np.float32)
    @example(noise, 0, 1, (1, 1), (70, 80), 150, np.float32)
    @example(a_rounding_apart, 0, 1, (40, 40), (131, 147), 2, np.float32)
    @example(a_rounding_apart, 0, 3, (60, 60), (131, 147), 9, np.float32)
    def test_the_same_bits_as_on_the_cpu(
        self, threads: Threads, kind, seed: int, batch: int, grid: Size, size: Size, classes: int, dtype
    ) -> None:
        with np.errstate(over="ignore"):
            logits = np.nan_to_num(logits_of(kind, seed, (batch, *grid, classes)).astype(dtype))
        np.testing.assert_array_equal(
            threads(planar(logits), size), native.class_map(logits.astype(np.float32), size, 1)
        )

    @given(
        kind=st.sampled_from(KINDS),
        seed=st.integers(0, 2**32 - 1),
        grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        classes=CLASSES,
    )
    @examples(10)  # the same bits as on the CPU, where tests/test_native.py tries more
    def test_as_the_portable_graph_ends(
        self, threads: Threads, kind, seed: int, grid: Size, size: Size, classes: int
    ) -> None:
        logits = logits_of(kind, seed, (2, *grid, classes))
        planes, want = OnnxRuntime(classes, size)(logits)
        assert_equal_maps(threads(planar(logits), size), logits, planes, want)

    @needs_native
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    @pytest.mark.parametrize(
        ("grid", "classes", "size"),
        [
            ((128, 128), 150, (512, 512)),
            ((128, 128), 150, (128, 128)),
            ((128, 128), 150, (97, 61)),
            ((90, 120), 19, (360, 480)),
            ((90, 120), 19, (1080, 1920)),
            ((64, 128), 19, (301, 517)),
            ((33, 47), 11, (1031, 59)),
        ],
    )
    def test_a_picture_pixel_by_pixel(self, threads: Threads, grid: Size, classes: int, size: Size, dtype) -> None:
        logits = streets(grid, classes).astype(dtype)
        np.testing.assert_array_equal(
            threads(planar(logits), size), native.class_map(logits.astype(np.float32), size, 2)
        )

    def test_ties_go_to_the_lowest_id(self, threads: Threads) -> None:
        logits = logits_of(few_values, 0, (2, 12, 11, 40))
        planes, want = OnnxRuntime(40, (48, 44))(logits)
        best = np.sort(planes, axis=1)
        assert (best[:, -1] == best[:, -2]).mean() > 0.1, "hardly a tie"
        np.testing.assert_array_equal(threads(planar(logits), (48, 44)), want)

    def test_every_image_of_a_batch_is_its_own(self, threads: Threads) -> None:
        logits = planar(logits_of(noise, 0, (5, 6, 7, 20)))
        together = threads(logits, (24, 28))
        for one, alone in zip(together, logits, strict=True):
            np.testing.assert_array_equal(one, threads(np.ascontiguousarray(alone[None]), (24, 28))[0])

    def test_a_pixel_has_one_thread_and_a_thread_one_cell(self, library: ctypes.CDLL) -> None:
        """At the usual four times: an inner thread writes 4x4 pixels, all of one cell, and nobody else does."""
        (height, width), size = (8, 11), (32, 44)
        logits = planar(np.ones((1, height, width, 3), np.float32))
        written = np.zeros(size, int)
        for block in range(library.blocks(height, width, *size)):
            for thread in range(constant("kThreads")):
                found = np.full(size, 255, np.uint8)
                library.run_thread(_address(logits), 3, height, width, _address(found), *size, block, thread)
                rows, columns = np.nonzero(found != 255)
                written[rows, columns] += 1
                assert len(rows) in (0, 4, 8, 16)
                assert len({library.source_low(int(y), height, size[0]) for y in rows}) <= 1
                assert len({library.source_low(int(x), width, size[1]) for x in columns}) <= 1
        assert (written == 1).all()

    @given(inner=st.integers(1, 5000), outer=st.integers(1, 20000))
    @example(1, 1 << 24)
    @example(1 << 24, 1)
    @example((1 << 24) - 1, 1 << 24)
    @example(4096, 16384)
    @example(2, 122)  # where a cell begins is rounded down
    @example(7, 57)  # and here up
    @examples(60)
    def test_pieces_cover_an_axis_and_keep_to_their_cell(self, library: ctypes.CDLL, inner: int, outer: int) -> None:
        count = library.pieces(inner, outer)
        chosen = range(count) if count < 3000 else [*range(500), *range(count // 2, count // 2 + 500), count - 1]
        assert library.piece_start(inner, outer, 0) == 0
        assert library.piece_start(inner, outer, count) == outer
        for piece in chosen:
            start, end = (library.piece_start(inner, outer, piece + i) for i in (0, 1))
            assert 0 <= end - start <= constant("kReach") + 1
            if start < end:
                assert library.source_low(start, inner, outer) == library.source_low(end - 1, inner, outer)

    @given(inner=st.integers(1, 3000), outer=st.integers(1, 3000))
    @examples(30)
    def test_source_coordinates_are_those_of_the_definition(self, library: ctypes.CDLL, inner: int, outer: int) -> None:
        """In float32, step by step; at the lower border there is nothing to go towards."""
        half = np.float32(0.5)
        scale = np.float32(inner) / np.float32(outer)
        at = np.maximum(scale * (np.arange(outer, dtype=np.float32) + half) - half, np.float32(0))
        low = np.minimum(at.astype(int), inner - 1)
        weight = np.where(low + 1 < inner, at - low.astype(np.float32), np.float32(0))
        np.testing.assert_array_equal([library.source_low(i, inner, outer) for i in range(outer)], low)
        np.testing.assert_array_equal([library.source_weight(i, inner, outer) for i in range(outer)], weight)

    def test_every_float16_is_widened_exactly(self, library: ctypes.CDLL) -> None:
        bits = np.arange(1 << 16, dtype=np.uint16)
        found = np.array([library.widened(int(one)) for one in bits], np.float32)
        want = bits.view(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(want))

    @pytest.mark.slow
    def test_it_reads_and_writes_nowhere_else(self, tmp_path: Path) -> None:
        sanitized = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        subprocess.run([*STRICT, *sanitized, INCLUDE, str(THREADS), "-o", str(tmp_path / "main")], check=True)
        for grid, classes, size in (
            ((1, 1), 1, (1, 1)),
            ((1, 7), 5, (3, 100)),
            ((7, 1), 4, (100, 3)),
            ((9, 13), 19, (36, 52)),
            ((13, 9), 255, (5, 9)),
            ((5, 6), 6, (83, 101)),
        ):
            logits = planar(logits_of(noise, 0, (2, *grid, classes)))
            given_ = np.array([2, classes, *grid, *size], np.int32).tobytes() + logits.tobytes()
            done = subprocess.run([tmp_path / "main"], input=given_, check=False, capture_output=True)
            assert done.returncode == 0, done.stderr.decode()
            found = np.frombuffer(done.stdout, np.uint8).reshape(2, *size)
            planes = torch_planes(logits, size)
            assert_equal_maps(found, logits.transpose(0, 2, 3, 1), planes, planes.argmax(1))


def torch_planes(logits: np.ndarray, size: Size) -> np.ndarray:
    return upsampled(np.ascontiguousarray(logits.transpose(0, 2, 3, 1)), size)


class TestLaunch:
    @needs_compiler
    @given(
        grid=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
        size=st.tuples(st.integers(1, 16384), st.integers(1, 16384)),
    )
    @example((128, 128), (512, 512))
    @example((1 << 24, 1), (1, 1 << 24))
    def test_python_starts_as_many_blocks_as_the_source_counts(
        self, library: ctypes.CDLL, grid: Size, size: Size
    ) -> None:
        assert launch_grid((3, 19, *grid), size) == (library.blocks(*grid, *size), 1, 3)

    def test_at_four_times_no_warp_is_wasted(self) -> None:
        blocks, _, _ = launch_grid((1, 150, 128, 128), (512, 512))
        assert blocks * constant("kThreads") < 1.02 * 128 * 128

    @pytest.mark.parametrize(
        ("shape", "size", "named"),
        [
            ((1, 256, 4, 4), (8, 8), "at most 255"),
            ((1, 0, 4, 4), (8, 8), r"\[1, 0, 4, 4\]"),
            ((1, 3, 0, 4), (8, 8), r"\[1, 3, 0, 4\]"),
            ((1, 3, 4, 4), (8, -1), "8x-1"),
            ((1, 3, 4, 4), (8, (1 << 24) + 1), "16777216"),
            ((0, 3, 4, 4), (8, 8), "0 class maps"),
            ((65536, 3, 4, 4), (8, 8), "1 to 65535"),
            ((1, 3, 1 << 23, 1 << 23), (1 << 23, 1 << 23), "smaller maps"),
        ],
    )
    def test_what_no_launch_can_serve_is_refused(self, shape, size: Size, named: str) -> None:
        with pytest.raises(ContractError, match=named):
            launch_grid(shape, size)

    def test_a_source_of_another_version_is_refused(self) -> None:
        with pytest.raises(EngineUnavailable, match="kNothing"):
            constant("kNothing")


CALLER = """
#include "segexport/class_map_cuda.hpp"

cudaError_t halves(const __half* logits, unsigned char* map, cudaStream_t stream) {
    return segexport::class_map_cuda(logits, 1, 150, 128, 128, map, 512, 512, stream);
}
cudaError_t floats(const float* logits, unsigned char* map, cudaStream_t stream) {
    return segexport::class_map_cuda(logits, 1, 150, 128, 128, map, 512, 512, stream);
}
"""


@needs_nvcc
class TestNvcc:
    @pytest.mark.parametrize("capability", CAPABILITIES)
    def test_a_cpp_program_gets_code_without_spills(self, tmp_path: Path, capability) -> None:
        architecture = "sm_{}{}".format(*capability)
        if architecture not in architectures():
            pytest.skip(f"this nvcc has no {architecture}")
        (tmp_path / "caller.cu").write_text(CALLER)
        command = ["nvcc", "-std=c++17", f"-arch={architecture}", "-Xptxas", "-v", "-Werror", "all-warnings", INCLUDE]
        done = subprocess.run(
            [*command, "-Xcompiler", "-Wall,-Wextra", "-c", "caller.cu", "-o", "caller.o"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said = done.stderr.splitlines()
        assert sum("Compiling entry function" in line for line in said) == 2
        frames = [line.strip() for line in said if "stack frame" in line]
        assert frames == ["0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"] * 2
        registers = [int(line.split("Used ")[1].split()[0]) for line in said if "Used " in line]
        assert len(registers) == 2
        assert max(registers) <= 128, registers

    def test_nothing_is_contracted(self, tmp_path: Path) -> None:
        """Multiply-adds would round once where the definition rounds twice."""
        (tmp_path / "caller.cu").write_text(CALLER)
        subprocess.run(
            ["nvcc", "-std=c++17", "-arch=sm_87", INCLUDE, "-ptx", "caller.cu", "-o", "caller.ptx"],
            cwd=tmp_path,
            check=True,
        )
        code = (tmp_path / "caller.ptx").read_text()
        assert "mul.rn.f32" in code
        assert "fma.rn.f32" not in code
        assert "div.approx" not in code

    @pytest.mark.slow
    def test_two_files_of_one_program_may_include_it(self, tmp_path: Path) -> None:
        (tmp_path / "caller.cu").write_text(CALLER)
        (tmp_path / "main.cu").write_text(
            CALLER.replace(" halves", " others").replace(" floats", " more") + "int main() {}\n"
        )
        command = ["nvcc", "-std=c++17", "-arch=sm_87", INCLUDE, "caller.cu", "main.cu", "-o", "main"]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
        if "cannot find -lcuda" in done.stderr:
            pytest.skip("needs CUDA's runtime library to link")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def nvrtc() -> None:
    try:
        compile_kernel((8, 7))
    except EngineUnavailable as error:
        if "no NVRTC here" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.usefixtures("nvrtc")
class TestNvrtc:
    @pytest.mark.parametrize("capability", CAPABILITIES)
    def test_it_compiles_without_a_gpu_and_without_headers(self, capability) -> None:
        cubin = compile_kernel(capability)
        assert cubin[:4] == b"\x7fELF"
        for dtype in kernel.DTYPES:
            assert f".text.segexport_class_map_{dtype}\0".encode() in cubin

    def test_the_same_source_gives_the_same_bytes(self) -> None:
        assert compile_kernel((8, 7)) == compile_kernel.__wrapped__((8, 7))

    def test_an_unknown_compute_capability_is_named(self) -> None:
        with pytest.raises(EngineUnavailable, match=r"does not compile for compute capability 6\.1, only for .*8\.7"):
            compile_kernel((6, 1))

    def test_the_compilers_words_are_in_the_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = kernel.source() + "\nint answer() { return unheard_of; }\n"
        monkeypatch.setattr(kernel, "source", lambda: broken)
        with pytest.raises(EngineUnavailable, match=r"does not compile for sm_87: .*unheard_of") as caught:
            compile_kernel.__wrapped__((8, 7))
        assert "\n" not in str(caught.value)

    def test_without_a_driver_the_kernel_says_so(self) -> None:
        if not (reason := no_device()):
            pytest.skip("there is a CUDA device")
        assert reason
        with pytest.raises(EngineUnavailable, match=r"no CUDA driver .* install|cudaSetDevice|update NVIDIA's driver"):
            ClassMapKernel((8, 7))


LAUNCH = """
import numpy as np
from segexport.tensorrt.kernel import ClassMapKernel

logits = np.load("logits.npy")
found = np.full((len(logits), 37, 50), 255, np.uint8)
kernel = ClassMapKernel((8, 7))
kernel.launch(logits.ctypes.data, logits.dtype, logits.shape, found.ctypes.data, (37, 50), 7)
kernel.close()
kernel.close()
np.save("found.npy", found)
try:
    kernel.launch(logits.ctypes.data, logits.dtype, logits.shape, found.ctypes.data, (37, 50), 7)
except Exception as error:
    print(error)
"""


@needs_compiler
@pytest.mark.usefixtures("nvrtc")
class TestDriver:
    """The calls that a launch makes, by the real bindings, to a driver that runs the threads on the CPU."""

    @pytest.fixture(scope="class")
    @classmethod
    def driver(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("driver")
        built = folder / "libcuda.so.1"
        subprocess.run([*STRICT, "-O2", "-fPIC", "-shared", INCLUDE, str(DRIVER), "-o", str(built)], check=True)
        return folder

    @pytest.fixture
    def launch(self, driver: Path, tmp_path: Path):
        def run(logits: np.ndarray, **environment: str) -> subprocess.CompletedProcess[str]:
            np.save(tmp_path / "logits.npy", logits)
            return subprocess.run(
                [sys.executable, "-c", LAUNCH],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(driver), **environment},
                check=False,
                capture_output=True,
                text=True,
            )

        return run

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_the_kernel_gets_grid_and_parameters_in_order(
        self, launch, threads: Threads, tmp_path: Path, dtype
    ) -> None:
        logits = planar(logits_of(noise, 0, (3, 9, 13, 19))).astype(dtype)
        done = launch(logits)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "loaded",
            "launched on stream 7",
            "unloaded",
            "this kernel is closed: make another ClassMapKernel",
        ]
        np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), threads(logits, (37, 50)))

    @pytest.mark.parametrize(
        ("call", "before"),
        [
            ("cuKernelGetFunction", ["loaded", "unloaded"]),
            ("cuLaunchKernel", ["loaded"]),
        ],
    )
    def test_a_refused_call_is_named_with_the_remedy(self, launch, call: str, before: list[str]) -> None:
        done = launch(np.zeros((1, 3, 4, 4), np.float32), CUDA_ON_CPU_REFUSES=call)
        assert done.returncode == 1
        assert done.stdout.split() == before
        assert f"{call}: CUDA_ERROR_INVALID_CONTEXT: make a device current first" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("missing", ["cuda", "cuda.bindings", "cuda.bindings.nvrtc"])
def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name == "cuda" or name.startswith("cuda.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineUnavailable, match="pip install cuda-python nvidia-cuda-nvrtc") as caught:
        compile_kernel.__wrapped__((8, 7))
    assert "\n" not in str(caught.value)


def test_without_the_source_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SOURCE", "absent.hpp")
    with pytest.raises(EngineUnavailable, match=r"lacks absent\.hpp .* reinstall segexport"):
        kernel.source.__wrapped__()


@pytest.mark.slow
def test_the_source_is_in_wheel_and_sdist(tmp_path: Path) -> None:
    """A wheel built from the sdist: where both hold it, users have it."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns(".*", "build", "bundles", "demo", "*.egg-info", "*.so", "__pycache__")
    shutil.copytree(ROOT, project, ignore=ignored)
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path / "dist"), str(project)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    read = "from segexport.tensorrt import kernel; import sys; sys.stdout.write(kernel.source())"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); {read}"],
        cwd=tmp_path / "installed",
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == kernel.source()


def no_device() -> str | None:
    """Why there is no CUDA device to run on, or None."""
    try:
        from cuda.bindings import runtime

        status, count = runtime.cudaGetDeviceCount()
    except (ImportError, RuntimeError) as error:
        return f"no CUDA device: {error}"
    if status != runtime.cudaError_t.cudaSuccess:
        return f"no CUDA device: {status.name}"
    return None if count else "no CUDA device: the driver finds none"


class TestOnTheGpu:
    @pytest.fixture(scope="class")
    @classmethod
    def gpu(cls):
        """The kernel on device 0, as planar logits, size -> class maps."""
        if reason := no_device():
            pytest.skip(reason)
        from cuda.bindings import runtime

        def checked(answer):
            status, *found = answer
            assert status == runtime.cudaError_t.cudaSuccess, status
            return found[0] if found else None

        checked(runtime.cudaSetDevice(0))
        checked(runtime.cudaFree(0))
        properties = checked(runtime.cudaGetDeviceProperties(0))
        stream = checked(runtime.cudaStreamCreate())

        def run(logits: np.ndarray, size: Size) -> np.ndarray:
            found = np.full((len(logits), *size), 255, np.uint8)
            there = checked(runtime.cudaMalloc(logits.nbytes)), checked(runtime.cudaMalloc(found.nbytes))
            to_device = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
            to_host = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
            checked(runtime.cudaMemcpy(there[0], logits.ctypes.data, logits.nbytes, to_device))
            checked(runtime.cudaMemcpy(there[1], found.ctypes.data, found.nbytes, to_device))
            kernel_.launch(int(there[0]), logits.dtype, logits.shape, int(there[1]), size, int(stream))
            checked(runtime.cudaStreamSynchronize(stream))
            checked(runtime.cudaMemcpy(found.ctypes.data, there[1], found.nbytes, to_host))
            for pointer in there:
                checked(runtime.cudaFree(pointer))
            return found

        with ClassMapKernel((properties.major, properties.minor)) as kernel_:
            yield run
        checked(runtime.cudaStreamDestroy(stream))

    @needs_compiler
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    @pytest.mark.parametrize(
        ("images", "grid", "classes", "size"),
        [
            (1, (128, 128), 150, (512, 512)),
            (3, (90, 120), 19, (360, 480)),
            (2, (128, 128), 19, (1080, 1920)),
            (1, (128, 128), 150, (97, 61)),
            (2, (1, 1), 255, (33, 1)),
            (1, (33, 47), 11, (1031, 59)),
        ],
    )
    def test_it_computes_what_its_threads_compute_here(
        self, gpu, threads: Threads, images: int, grid: Size, classes: int, size: Size, dtype
    ) -> None:
        for kind in (*KINDS, a_rounding_apart):
            with np.errstate(over="ignore"):
                logits = np.nan_to_num(planar(logits_of(kind, 0, (images, *grid, classes))).astype(dtype))
            np.testing.assert_array_equal(gpu(logits, size), threads(logits, size))
        logits = planar(streets(grid, classes)).astype(dtype)
        np.testing.assert_array_equal(gpu(logits, size), threads(logits, size))

    def test_another_dtype_is_refused(self, gpu) -> None:
        with pytest.raises(ContractError, match="float16 or float32"):
            gpu(np.zeros((1, 3, 4, 4), np.float64), (8, 8))
