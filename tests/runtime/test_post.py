"""What the C++ runtime does behind an engine: class maps with confidence, overlays, nearest-neighbour resizes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from segexport.graph.build import Writer
from segexport.graph.postprocess import append
from segexport.images import overlay, resize_nearest
from segexport.spec import Contract, Size
from tests.support.class_maps import (
    CLASSES,
    KINDS,
    assert_equal_maps,
    few_values,
    huge,
    logits_of,
    noise,
    streets,
    upsampled,
)
from tests.support.cuda import CAPABILITIES, architectures, needs_nvcc
from tests.support.properties import examples

RUNTIME = Path(__file__).parents[2] / "runtime"
SHIM = Path(__file__).with_name("post_shim.cpp")
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror"]
INCLUDES = [f"-I{RUNTIME / folder}" for folder in ("include", "src", "tests")]
FLAGS = [*STRICT, "-ffp-contract=off", "-pthread", *INCLUDES]

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

ClassMap = Callable[[np.ndarray, Size], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    built = tmp_path_factory.mktemp("post") / "post.so"
    sources = [str(SHIM), str(RUNTIME / "src" / "image.cpp")]
    subprocess.run(["g++", "-O2", "-fPIC", "-shared", *FLAGS, *sources, "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


def address(array: np.ndarray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


@pytest.fixture(scope="module")
def class_map(library: ctypes.CDLL) -> ClassMap:
    """float32 [h, w, classes], size -> class map and confidence."""

    def run(logits: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        found, confidence = np.full(size, 255, np.uint8), np.full(size, -1, np.float32)
        library.class_map(address(logits), *logits.shape, address(found), address(confidence), *size, 2)
        return found, confidence

    return run


def scores_graph(classes: int, grid: Size, size: Size) -> ort.InferenceSession:
    """The end of a bundle's graph whose output is `scores`: logits [1, classes, *grid] -> mask and confidence."""
    shape = [1, classes, *grid]
    value = ir.Value(name="input", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 18}, name="scores")
    graph.outputs.append(Writer(graph, "head").op("Identity", [value], shape=shape))
    append(graph, Contract(size=(grid[0] * 4, grid[1] * 4), output="scores", mask_size=size))
    content = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


class TestConfidence:
    @given(
        kind=st.sampled_from(KINDS),
        seed=st.integers(0, 2**32 - 1),
        grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
        classes=CLASSES,
    )
    @examples(100)
    @example(noise, 0, (9, 9), (2, 3), 255)
    @example(few_values, 1, (5, 7), (5, 65), 17)
    def test_it_is_the_softmax_of_the_upsampled_logits(
        self, class_map: ClassMap, kind, seed: int, grid: Size, size: Size, classes: int
    ) -> None:
        logits = logits_of(kind, seed, (1, *grid, classes))
        planes = upsampled(logits, size)
        found, confidence = class_map(logits[0], size)
        assert_equal_maps(found[None], logits, planes, planes.argmax(1))
        assert ((confidence > 0) & (confidence <= 1)).all()
        if kind is not huge:  # there a last bit of a logit is more than any softmax takes
            want = torch.from_numpy(planes.astype(np.float64)).softmax(1).amax(1)[0].numpy()
            np.testing.assert_allclose(confidence, want, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("grid", "classes", "size"),
        [((32, 48), 19, (128, 192)), ((24, 24), 150, (96, 96)), ((33, 47), 11, (59, 301)), ((16, 16), 3, (16, 16))],
    )
    @pytest.mark.parametrize("kind", ["noise", "street"])
    def test_as_the_scores_of_a_graph(
        self, class_map: ClassMap, grid: Size, classes: int, size: Size, kind: str
    ) -> None:
        logits = streets(grid, classes) * 4 if kind == "street" else logits_of(noise, 0, (1, *grid, classes))
        session = scores_graph(classes, grid, size)
        planar = np.ascontiguousarray(logits.transpose(0, 3, 1, 2))
        mask, confidence = session.run(["mask", "confidence"], {"input": planar})
        found, sure = class_map(logits[0], size)
        assert_equal_maps(found[None], logits, upsampled(logits, size), mask)
        np.testing.assert_allclose(sure, confidence[0], rtol=0, atol=1e-5)


class TestOverlay:
    @given(
        opacity=st.floats(0, 1) | st.sampled_from([0.5, 0.25, 0.1, 0.3, 0.7]),
        colours=st.integers(1, 256),
        seed=st.integers(0, 2**32 - 1),
    )
    @examples(25)
    def test_it_is_pythons_to_the_bit(self, library: ctypes.CDLL, opacity: float, colours: int, seed: int) -> None:
        """Every value under every colour's: the image runs through them along a row, the mask along a column."""
        palette = np.random.default_rng(seed).integers(0, 256, (colours, 3), np.uint8)
        palette[:, 0] = np.arange(colours)
        mask = np.ascontiguousarray(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, 1))
        image = np.ascontiguousarray(np.repeat(mask.T[..., None], 3, 2))
        found = np.zeros_like(image)
        library.overlay(
            *map(address, (image, mask, found)), 256, 256, address(palette), colours, ctypes.c_double(opacity)
        )
        want = overlay(image, mask, tuple(tuple(map(int, colour)) for colour in palette), opacity)
        np.testing.assert_array_equal(found, want)


class TestNearest:
    @given(
        size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        out=st.tuples(st.integers(1, 300), st.integers(1, 300)),
        dtype=st.sampled_from([np.uint8, np.float32]),
    )
    @examples(80)
    @example((360, 480), (1080, 1920), np.uint8)
    @example((1, 32768), (1, 32767), np.float32)
    @example((32767, 1), (32768, 1), np.uint8)
    def test_it_is_pythons(self, library: ctypes.CDLL, size: Size, out: Size, dtype) -> None:
        array = np.random.default_rng(0).integers(0, 256, size).astype(dtype)
        found = np.zeros(out, dtype)
        getattr(library, f"nearest_{array.dtype}")(address(array), *size, address(found), *out)
        np.testing.assert_array_equal(found, resize_nearest(array, out))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["workers", "class_map"])
def test_nothing_races(tmp_path: Path, name: str) -> None:
    """The tests in C++ that share work, with ThreadSanitizer; test_build.py has the other sanitizers."""
    sources = [str(RUNTIME / "tests" / f"{name}_test.cpp"), str(RUNTIME / "src" / "image.cpp")]
    checked = ["-O1", "-g", "-fsanitize=thread", "-fno-sanitize-recover=all"]
    built = tmp_path / "test"
    compiled = subprocess.run(
        ["g++", *checked, *FLAGS, *sources, "-o", str(built)], check=False, capture_output=True, text=True
    )
    if "cannot find" in compiled.stderr and "san" in compiled.stderr:
        pytest.skip("needs the libraries of -fsanitize=thread")
    assert compiled.returncode == 0, compiled.stderr
    done = subprocess.run([built], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


CALLER = """
#include "segexport/confidence_cuda.hpp"
#include "segexport/nearest_cuda.hpp"
#include "segexport/overlay_cuda.hpp"

cudaError_t halves(const __half* logits, float* confidence, cudaStream_t stream) {
    return segexport::confidence_cuda(logits, 1, 150, 128, 128, confidence, 512, 512, stream);
}
cudaError_t floats(const float* logits, float* confidence, cudaStream_t stream) {
    return segexport::confidence_cuda(logits, 1, 150, 128, 128, confidence, 512, 512, stream);
}
cudaError_t ids(const unsigned char* from, unsigned char* to, cudaStream_t stream) {
    return segexport::nearest_cuda(from, 128, 128, 128, to, 512, 512, 512, stream);
}
cudaError_t values(const float* from, float* to, cudaStream_t stream) {
    return segexport::nearest_cuda(from, 512, 128, 128, to, 2048, 512, 512, stream);
}
cudaError_t colours(const segexport::OverlayTable* table, const unsigned char* image, const unsigned char* mask,
                    unsigned char* out, cudaStream_t stream) {
    return segexport::overlay_cuda(table, image, 1536, {3, 2}, mask, 512, out, 2048, {4, 0}, 512, 512, stream);
}
"""


@needs_nvcc
class TestNvcc:
    @pytest.mark.parametrize("capability", CAPABILITIES)
    @pytest.mark.slow
    def test_the_kernels_compile_without_spills(self, tmp_path: Path, capability) -> None:
        architecture = "sm_{}{}".format(*capability)
        if architecture not in architectures():
            pytest.skip(f"this nvcc has no {architecture}")
        (tmp_path / "caller.cu").write_text(CALLER)
        command = ["nvcc", "-std=c++17", f"-arch={architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
        done = subprocess.run(
            [*command, f"-I{RUNTIME / 'include'}", "-Xcompiler", "-Wall,-Wextra", "-c", "caller.cu", "-o", "caller.o"],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said = done.stderr.splitlines()
        for kernel, count in (("confidence_kernel", 2), ("nearest_kernel", 2), ("overlay_kernel", 1)):
            assert sum("Compiling entry function" in line and kernel in line for line in said) == count
        frames = {line.strip() for line in said if "stack frame" in line}
        assert frames == {"0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"}

    def test_no_product_of_a_confidence_is_contracted(self, tmp_path: Path) -> None:
        """Or its bits would not be the CPU's."""
        (tmp_path / "caller.cu").write_text(CALLER)
        command = ["nvcc", "-std=c++17", "-arch=sm_87", f"-I{RUNTIME / 'include'}", "-ptx", "caller.cu"]
        subprocess.run([*command, "-o", "caller.ptx"], cwd=tmp_path, check=True)
        code = (tmp_path / "caller.ptx").read_text()
        assert "mul.rn.f32" in code
        assert "fma.rn.f32" not in code
        assert "div.approx" not in code
