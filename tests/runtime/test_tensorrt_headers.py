"""Our declarations of TensorRT's and CUDA's APIs say what NVIDIA's headers say, and the backend compiles against both.

NVIDIA's headers of TensorRT are not part of the project. Where the environment variable TENSORRT_HEADERS names a folder
with a folder for each version (10.3/NvInferRuntime.h and so on), ours are compared with them; those of CUDA are
compared wherever the toolkit is.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import RUNTIME
from tests.support.tensorrt_backend import BACKEND, STRICT, done, includes, tool, toolkit
from tests.support.tensorrt_headers import DECLARED, RTX, VERSIONS, checks, cuda_headers, tensorrt_headers

TENSORRT, CUDA = "NvInferRuntime.h", "cuda_runtime_api.h"


def nvidias(version: str) -> Path:
    """The folder of NVIDIA's headers of a TensorRT."""
    named = os.environ.get("TENSORRT_HEADERS")
    if named is None:
        pytest.skip("TENSORRT_HEADERS names no folder of NVIDIA's headers (10.3/NvInferRuntime.h and so on)")
    folder = Path(named).resolve() / version
    if not (folder / TENSORRT).exists():
        pytest.skip(f"there is no {folder / TENSORRT}")
    return folder


@pytest.fixture
def cuda(tmp_path: Path) -> Path:
    return cuda_headers(tmp_path / "cuda")


def compiled(source: str, folder: Path, *headers: Path) -> subprocess.CompletedProcess[str]:
    (folder / "checks.cpp").write_text(source)
    command = [tool("g++"), "-std=c++17", "-fsyntax-only", *includes(*headers), str(folder / "checks.cpp")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_we_declare_of_tensorrt_is_nvidias(version: str, cuda: Path, tmp_path: Path) -> None:
    theirs, ours = nvidias(version), tensorrt_headers(version, tmp_path / "ours")
    ran = compiled(checks(ours / TENSORRT, cuda), tmp_path, theirs, cuda)
    assert ran.returncode == 0, ran.stderr


def test_what_we_declare_of_cuda_is_the_toolkits(cuda: Path, tmp_path: Path) -> None:
    ran = compiled(checks(cuda / CUDA), tmp_path, toolkit() / "include")
    assert ran.returncode == 0, ran.stderr


DIFFERENCES = [
    ("bool enqueueV3", "void enqueueV3", "enqueueV3"),
    (
        "setInputShape(char const* name, Dims const& dims)",
        "setInputShape(char const* name, Dims dims)",
        "setInputShape",
    ),
    ("int32_t inferShapes(int32_t count", "int32_t inferShapes(int64_t count", "inferShapes"),
    ("getNbIOTensors() const noexcept", "getNbIOTensors() noexcept", "getNbIOTensors"),
    ("setDLACore(int32_t core) noexcept", "setDLACore(int32_t core)", "setDLACore"),
    ("virtual bool setWeightStreamingBudgetV2(int64_t budget) noexcept = 0;", "", "setWeightStreamingBudgetV2"),
    ("log(Severity severity", "log(int32_t severity", "log"),
    ("kUINT8 = 5", "kUINT8 = 6", "kUINT8"),
    ("kERROR = 1", "kERROR = 2", "kERROR"),
    ("enum class OptProfileSelector : int32_t", "enum class OptProfileSelector : int8_t", "OptProfileSelector"),
    ("int32_t nbDims;", "int64_t nbDims;", "nbDims"),
    ("int64_t d[8];", "int64_t d[7];", "Dims64::d"),
    ("Dims4(int64_t d0, int64_t d1, int64_t d2, int64_t d3) : Dims64{4, {d0, d1, d2, d3}} {}", "", "constructor"),
    ("using Dims = Dims64;", "class Dims {};", "Dims"),
    ("NV_TENSORRT_MAJOR * 10000", "NV_TENSORRT_MAJOR * 1000", "NV_TENSORRT_VERSION"),
    ("int32_t getInferLibPatchVersion()", "int64_t getInferLibPatchVersion()", "getInferLibPatchVersion"),
    (
        "inline IRuntime* createInferRuntime(ILogger& logger)",
        "inline void* createInferRuntime(ILogger& logger)",
        "createInferRuntime",
    ),
    ("cudaMallocHost(void** memory", "cudaMallocHost(void* memory", "cudaMallocHost"),
    ("cudaErrorNotReady = 600", "cudaErrorNotReady = 601", "cudaErrorNotReady"),
    ("#define cudaStreamNonBlocking 1", "#define cudaStreamNonBlocking 2", "cudaStreamNonBlocking"),
    ("cudaMemoryType type;", "int type;", "cudaPointerAttributes::type"),
    (
        "using cudaGraphExec_t = struct CUgraphExec_st*;",
        "using cudaGraphExec_t = struct CUother_st*;",
        "cudaGraphExec_t",
    ),
]
"""Text of ours, what stands for NVIDIA's, and what the assertion that fails is about."""


@pytest.mark.parametrize(("ours", "theirs", "named"), DIFFERENCES, ids=[named for _, _, named in DIFFERENCES])
def test_a_declaration_that_differs_is_noticed(ours: str, theirs: str, named: str, cuda: Path, tmp_path: Path) -> None:
    """By the assertions made of our headers, on a copy of them that stands for NVIDIA's."""
    header = CUDA if ours in (DECLARED / CUDA).read_text() else TENSORRT
    folder = cuda if header == CUDA else tensorrt_headers("10.13", tmp_path / "tensorrt")
    source = checks(folder / header, cuda)
    text = (folder / header).read_text()
    assert text.count(ours) == 1
    (folder / header).write_text(text.replace(ours, theirs))
    ran = compiled(source, tmp_path, folder, cuda)
    assert ran.returncode == 1
    failed = {source.splitlines()[int(line) - 1] for line in re.findall(r"checks\.cpp:(\d+):\d+: error", ran.stderr)}
    assert any(named in line for line in failed), ran.stderr


def test_another_version_is_noticed(cuda: Path, tmp_path: Path) -> None:
    ours, theirs = tensorrt_headers("10.16", tmp_path / "ours"), tensorrt_headers("10.13", tmp_path / "theirs")
    ran = compiled(checks(ours / TENSORRT, cuda), tmp_path, theirs, cuda)
    assert "TRT_MINOR_ENTERPRISE" in ran.stderr


def test_a_declaration_that_is_not_understood_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "odd.h").write_text("template <typename T> T made();\n")
    with pytest.raises(AssertionError, match="no declaration that can be checked: template <typename T>"):
        checks(tmp_path / "odd.h")


def test_the_backend_of_tensorrt_for_rtx_compiles(cuda: Path, tmp_path: Path) -> None:
    """The only lines of its own are where it makes an execution context."""
    (version,) = RTX
    headers = includes(tensorrt_headers(version, tmp_path / version), cuda)
    source = BACKEND / "execution.cpp"
    done(tool("g++"), *STRICT, "-DSEGEXPORT_TENSORRT_RTX", "-fsyntax-only", *headers, source)


def test_values_of_tensorrt_for_rtx_are_those_of_its_bindings() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    text = (DECLARED / TENSORRT).read_text()
    capture = int(trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE)
    eager = int(trt.DynamicShapesKernelSpecializationStrategy.EAGER)
    assert f"CudaGraphStrategy : int32_t {{ kWHOLE_GRAPH_CAPTURE = {capture} }};" in text
    assert f"DynamicShapesKernelSpecializationStrategy : int32_t {{ kEAGER = {eager} }};" in text


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_backend_compiles_against_nvidias_headers(version: str, cuda: Path) -> None:
    headers = includes(nvidias(version), cuda)
    for source in sorted(BACKEND.glob("*.cpp")):
        done(tool("g++"), *STRICT, "-fsyntax-only", *headers, source)


def version_found_in(headers: Path, folder: Path) -> str:
    """What CMake finds: the version, and whether it is TensorRT for RTX."""
    (folder / "CMakeLists.txt").write_text(
        f"""
        cmake_minimum_required(VERSION 3.22)
        project(found LANGUAGES NONE)
        list(APPEND CMAKE_MODULE_PATH "{RUNTIME / "cmake"}")
        find_package(TensorRT REQUIRED)
        file(WRITE found.txt "${{TensorRT_VERSION}} ${{TensorRT_RTX}}")
        """
    )
    done(tool("cmake"), "-S", folder, "-B", folder / "build", f"-DTensorRT_ROOT={headers}")
    return (folder / "found.txt").read_text()


@pytest.mark.parametrize("version", [*VERSIONS, *RTX])
def test_cmake_reads_the_version(version: str, tmp_path: Path) -> None:
    full = {**VERSIONS, **RTX}[version].rpartition(".")[0]
    headers = tensorrt_headers(version, tmp_path / "headers")
    assert version_found_in(headers, tmp_path) == f"{full} {'ON' if version in RTX else 'OFF'}"


@pytest.mark.parametrize("version", VERSIONS)
def test_cmake_reads_the_version_of_nvidias_headers(version: str, tmp_path: Path) -> None:
    assert version_found_in(nvidias(version), tmp_path) == f"{VERSIONS[version].rpartition('.')[0]} OFF"
