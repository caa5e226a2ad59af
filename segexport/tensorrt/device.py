"""Which NVIDIA GPUs there are, and where there is none, precisely what is missing.

Asked of the driver itself (`libcuda`, CUDA's driver API), because neither TensorRT nor a CUDA runtime tells: a
TensorRT runtime is made without a GPU and fails later, and a CUDA runtime calls a missing driver an old one.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport.errors import EngineUnavailable

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
INSTALL = 'pip install "cuda-python>=12.8"'

_NO_DEVICE, _STUB, _MISMATCH = 100, 34, 803
"""CUresult: CUDA_ERROR_NO_DEVICE, CUDA_ERROR_STUB_LIBRARY, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH."""
_MAJOR, _MINOR = 75, 76
"""CUdevice_attribute: the compute capability's two numbers."""

_JETSON = Path("/etc/nv_tegra_release")
_CONTROL = Path("/dev/nvidiactl")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA shows to this process: its index there, and what it is."""

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int

    @property
    def device(self) -> str:
        """What `--device` calls it."""
        return f"cuda:{self.index}"

    @property
    def target(self) -> str:
        """Its compute capability as TensorRT for RTX names it, such as `sm86`."""
        return "sm{}{}".format(*self.compute_capability)

    def __str__(self) -> str:
        return f"{self.name} ({self.target})"


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver shows to this process; none where `why_none` has something to say."""
    try:
        driver = _driver()
    except OSError:
        return ()
    if driver.cuInit(0) != 0:
        return ()
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return tuple(_gpu(driver, index) for index in range(count.value))


def why_none() -> str:
    """What is missing that `gpus` is empty, and how to get it; an empty text where there is a GPU."""
    try:
        driver = _driver()
    except OSError as error:
        return f"no NVIDIA driver ({error}): {_get_driver()}"
    status = driver.cuInit(0)
    if status == 0:
        return "" if gpus() else _no_device()
    if status == _NO_DEVICE:
        return _no_device()
    if status == _STUB:
        return (
            f"{LIBRARY} is the CUDA toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH, and "
            f"{_get_driver()}"
        )
    if status == _MISMATCH:
        return "the NVIDIA driver was updated and the old one still runs: restart the machine"
    return f"the NVIDIA driver does not start ({_error(driver, status)}): see what nvidia-smi says, or install it again"


def missing() -> str:
    """What keeps segexport from computing on a GPU here: `why_none`, or CUDA's runtime for Python; or an empty text."""
    if why := why_none():
        return why
    try:
        runtime: Any = importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        return f"the package cuda-python is missing or cannot be loaded ({error}): {_get_bindings(driver_version())}"
    return older_driver(driver_version(), int(runtime.cudaRuntimeGetVersion()[1]))


def older_driver(driver: int, runtime: int) -> str:
    """What to do about a driver that is too old for a CUDA runtime, both as CUDA numbers them (`12080` is 12.8).

    Within a major version any driver serves any runtime (NVIDIA, "CUDA Compatibility"). Empty where that is so.
    """
    if driver // 1000 >= runtime // 1000:
        return ""
    return (
        f"the NVIDIA driver serves CUDA {_written(driver)} and is older than the runtime of cuda-python "
        f"({_written(runtime)}): update the driver, or {_get_bindings(driver)}"
    )


def driver_version() -> int:
    """The CUDA version that the driver serves, as CUDA numbers them; 0 without a driver."""
    version = ctypes.c_int()
    try:
        _driver().cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return 0
    return version.value


def gpu_named(device: str | None, engine: str) -> Gpu:
    """The GPU that `--device` names, such as `cuda:1`; the first for `GPU`, or where none is named.

    Raises:
        EngineUnavailable: there is no such GPU, or none at all; `engine` is who asks.
    """
    found = gpus()
    if not found:
        raise EngineUnavailable(f"{engine} needs an NVIDIA GPU: {why_none()}")
    if device in (None, "GPU"):
        return found[0]
    for gpu in found:
        if gpu.device == device:
            return gpu
    known = ", ".join(f"{gpu.device} ({gpu.name})" for gpu in found)
    raise EngineUnavailable(f"{engine} has no device {device} here: pass --device with one of {known}")


def _driver() -> Any:
    """The driver's library.

    Raises:
        OSError: it cannot be loaded.
    """
    return ctypes.CDLL(LIBRARY)


def _gpu(driver: Any, index: int) -> Gpu:
    handle, major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    return Gpu(index, name.value.decode(errors="replace"), (major.value, minor.value), memory.value)


def _error(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    return f"cuInit: {name.value.decode() if name.value else f'error {status}'}"


def _no_device() -> str:
    hidden = os.environ.get(_VISIBLE)
    if hidden is not None:
        return f"the NVIDIA driver shows no GPU, because {_VISIBLE} is '{hidden}': unset it, or set it to 0"
    if _CONTROL.exists() and not os.access(_CONTROL, os.R_OK | os.W_OK):
        return f"{_CONTROL} may not be opened by this user: add them to its group, or change the container's settings"
    return f"the NVIDIA driver finds no GPU: see whether nvidia-smi lists one; {_in_container()}"


def _get_driver() -> str:
    if _JETSON.exists():
        return f"install JetPack's (sudo apt install nvidia-jetpack); {_in_container()}"
    return f"install one from https://www.nvidia.com/drivers; {_in_container()}"


def _in_container() -> str:
    return f"start a container with {'--runtime nvidia' if _JETSON.exists() else '--gpus all'}"


def _get_bindings(driver: int) -> str:
    return INSTALL if driver == 0 or driver >= 13000 else 'pip install "cuda-python>=12.8,<13"'


def _written(version: int) -> str:
    """12080 as 12.8."""
    return f"{version // 1000}.{version % 1000 // 10}"
