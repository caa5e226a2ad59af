"""Class maps on the GPU: compiles `runtime/include/segexport/class_map_cuda.hpp` with NVRTC, and starts it.

An engine that ends at low-resolution logits is followed by this kernel, which upsamples and takes the argmax at any
size. Compiling takes no GPU, only NVIDIA's compiler library; loading and starting take one. Result, layout and
arithmetic are described in the source file.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

import segexport
from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import MAX_CLASSES, Size

INSTALL = (
    "pip install cuda-python nvidia-cuda-nvrtc"
    ' (where the driver is for CUDA 12: pip install "cuda-python<13" nvidia-cuda-nvrtc-cu12)'
)
SOURCE = "class_map_cuda.hpp"
DTYPES = ("float16", "float32")
LARGEST_SIDE = 1 << 24
LARGEST_GRID = (2**31 - 1, 65535)
"""Blocks and images that CUDA takes in one launch."""


@cache
def source() -> str:
    """The CUDA source. A wheel holds it beside the package's modules, a checkout under `runtime/include`."""
    package = Path(segexport.__file__).parent
    places = [package / "include" / "segexport" / SOURCE, package.parent / "runtime" / "include" / "segexport" / SOURCE]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise EngineUnavailable(f"this installation of segexport lacks {SOURCE} (not at {places[0]}): reinstall segexport")


@cache
def constant(name: str) -> int:
    """A `constexpr int` of the source, so that what both sides need is written once."""
    found = re.search(rf"^constexpr int {name} = (\d+);", source(), re.MULTILINE)
    if found is None:
        raise EngineUnavailable(f"{SOURCE} does not define {name}: it is of another version; reinstall segexport")
    return int(found[1])


def launch_grid(shape: tuple[int, int, int, int], out_size: Size) -> tuple[int, int, int]:
    """Blocks to start, (x, y, z), each of `constant("kThreads")` threads: as `blocks` in the source counts them.

    Args:
        shape: of the logits, (images, classes, height, width).
        out_size: height and width of the class maps.

    Raises:
        ContractError: no images, more than 255 classes, a side below 1, or more than one launch can serve.
    """
    images, classes, *grid = shape
    if not 1 <= classes <= MAX_CLASSES or not all(1 <= side <= LARGEST_SIDE for side in (*grid, *out_size)):
        raise ContractError(
            f"no class map of {out_size[0]}x{out_size[1]} from logits {list(shape)}: pass [N, classes, h, w] with at"
            f" most {MAX_CLASSES} classes and sides from 1 to {LARGEST_SIDE}"
        )
    pieces = [_pieces(inner, outer) for inner, outer in zip(grid, out_size, strict=True)]
    blocks = -(-pieces[0] * pieces[1] // constant("kThreads"))
    if not 1 <= images <= LARGEST_GRID[1] or blocks > LARGEST_GRID[0]:
        raise ContractError(
            f"{images} class maps of {out_size[0]}x{out_size[1]} do not fit one launch: pass 1 to {LARGEST_GRID[1]}"
            f" images and smaller maps"
        )
    return blocks, 1, images


def _pieces(inner: int, outer: int) -> int:
    """How many threads share an axis: `Pieces` in the source."""
    return outer if outer < inner else (inner + 1) * ((outer - 1) // inner // constant("kReach") + 1)


@cache
def compile_kernel(compute_capability: tuple[int, int]) -> bytes:
    """The kernel as a cubin for one compute capability, such as (8, 7). Takes no GPU.

    Raises:
        EngineUnavailable: cuda-python or NVRTC is missing, NVRTC does not know the compute capability, or the
            source does not compile.
    """
    try:
        from cuda.bindings import nvrtc

        supported = _nvrtc("nvrtcGetSupportedArchs")[0]
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineUnavailable(
            f"the class map's kernel cannot be compiled, no NVRTC here ({_line(error)}): {INSTALL}"
        ) from error
    major, minor = compute_capability
    if major * 10 + minor not in supported:
        version = ".".join(map(str, _nvrtc("nvrtcVersion")))
        raise EngineUnavailable(
            f"NVRTC {version} does not compile for compute capability {major}.{minor}, only for"
            f" {', '.join(f'{one // 10}.{one % 10}' for one in supported)}: install another release; {INSTALL}"
        )
    (program,) = _nvrtc("nvrtcCreateProgram", source().encode(), SOURCE.encode(), 0, [], [])
    try:
        options = [f"--gpu-architecture=sm_{major}{minor}".encode(), b"--std=c++17"]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_nvrtc("nvrtcGetProgramLogSize", program)[0])
            _nvrtc("nvrtcGetProgramLog", program, log)
            words = " ".join(log.decode(errors="replace").rstrip("\0").split())
            raise EngineUnavailable(f"{SOURCE} does not compile for sm_{major}{minor}: {words or status.name}")
        cubin = bytearray(_nvrtc("nvrtcGetCUBINSize", program)[0])
        _nvrtc("nvrtcGetCUBIN", program, cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return bytes(cubin)


class ClassMapKernel:
    """The kernel on the current device. Close it before the device's context goes.

    The caller has made a device current (`cudaSetDevice`) and calls from a thread where it is. Everything is loaded
    here, so that `launch` may be captured in a CUDA graph.

    Args:
        compute_capability: of the current device.

    Raises:
        EngineUnavailable: see `compile_kernel`; no driver, no current device, or one of another compute capability.
    """

    def __init__(self, compute_capability: tuple[int, int]) -> None:
        cubin = compile_kernel(compute_capability)
        _driver("cuInit", 0)
        (self._library,) = _driver("cuLibraryLoadData", cubin, [], [], 0, [], [], 0)
        try:
            self._functions = {}
            for dtype in DTYPES:
                (kernel,) = _driver("cuLibraryGetKernel", self._library, f"segexport_class_map_{dtype}".encode())
                (self._functions[dtype],) = _driver("cuKernelGetFunction", kernel)
        except EngineUnavailable:
            self.close()
            raise

    def launch(
        self,
        logits_ptr: int,
        logits_dtype: npt.DTypeLike,
        shape: tuple[int, int, int, int],
        mask_ptr: int,
        out_size: Size,
        stream: int,
    ) -> None:
        """Start the class maps of a batch; returns before they are done.

        Args:
            logits_ptr: device address of float16 or float32 [N, classes, h, w], contiguous and finite.
            logits_dtype: which of the two.
            shape: (N, classes, h, w).
            mask_ptr: device address of uint8 [N, *out_size], written.
            out_size: height and width of the class maps.
            stream: handle of the CUDA stream.

        Raises:
            ContractError: another dtype, or sizes that cannot be served.
            EngineUnavailable: CUDA refused the launch, or the kernel is closed.
        """
        dtype = np.dtype(logits_dtype).name
        if dtype not in DTYPES:
            raise ContractError(f"logits are {dtype}: the kernel takes {' or '.join(DTYPES)}")
        if dtype not in self._functions:
            raise EngineUnavailable("this kernel is closed: make another ClassMapKernel")
        grid = launch_grid(shape, out_size)
        parameters = [
            (logits_ptr, ctypes.c_void_p),
            *((size, ctypes.c_int) for size in shape[1:]),
            (mask_ptr, ctypes.c_void_p),
            *((size, ctypes.c_int) for size in out_size),
        ]
        values, types = zip(*parameters, strict=True)
        _driver(
            "cuLaunchKernel", self._functions[dtype], *grid, constant("kThreads"), 1, 1, 0, stream, (values, types), 0
        )

    def close(self) -> None:
        """Unload it; a second time does nothing."""
        library, self._library, self._functions = self._library, None, {}
        if library is not None:
            _driver("cuLibraryUnload", library)

    def __enter__(self) -> ClassMapKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nvrtc(call: str, *arguments: Any) -> tuple[Any, ...]:
    from cuda.bindings import nvrtc

    status, *found = getattr(nvrtc, call)(*arguments)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise EngineUnavailable(f"NVRTC refuses {call}: {status.name}; install it again: {INSTALL}")
    return tuple(found)


def _driver(call: str, *arguments: Any) -> tuple[Any, ...]:
    try:
        from cuda.bindings import driver

        status, *found = getattr(driver, call)(*arguments)
    except ImportError as error:
        raise EngineUnavailable(f"cuda-python is not installed: {INSTALL}") from error
    except RuntimeError as error:  # libcuda is not there
        raise EngineUnavailable(
            f"no CUDA driver ({_line(error)}): install NVIDIA's driver, or run on a machine with an NVIDIA GPU"
        ) from error
    if status != driver.CUresult.CUDA_SUCCESS:
        name = getattr(status, "name", status)
        raise EngineUnavailable(f"the class map's kernel does not run, {call}: {name}{_remedy(name)}")
    return tuple(found)


def _remedy(status: str) -> str:
    if status in ("CUDA_ERROR_INVALID_CONTEXT", "CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_NOT_INITIALIZED"):
        return ": make a device current first (cudaSetDevice)"
    if status in ("CUDA_ERROR_NO_BINARY_FOR_GPU", "CUDA_ERROR_INVALID_IMAGE", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"):
        return f": it was compiled for another compute capability, or by an NVRTC newer than the driver; {INSTALL}"
    return ": update NVIDIA's driver, or free the device's memory"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
