"""What machine this is, and how much memory a process has used: facts that figures are worthless without."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "cuda-python",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pillow",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "torch",
    "transformers",
)

_M_MMAP_THRESHOLD = -3  # malloc.h
_THRESHOLD = 256 << 10
_ours = False

_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
_INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def claim_process() -> None:
    """Say that no other program's code runs in this process, as the command line does when it starts."""
    global _ours
    _ours = True


def give_freed_memory_back() -> None:
    """Give what has been freed back to the system, which glibc otherwise mostly keeps; without glibc do nothing.

    In a process of our own what is freed from here on is given back at once, too. glibc maps blocks from a threshold
    on, and raises that with every larger one freed, up to 32 MiB: what is freed below stays in its heap, in pieces,
    such as the weights that ONNX Runtime has packed. The threshold is fixed here, which cannot be undone, and costs
    programs that allocate much and often (mallopt(3), M_MMAP_THRESHOLD; malloc_trim(3)).
    """
    gc.collect()  # a graph's nodes and values hold each other
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim") and hasattr(library, "mallopt"):
        library.malloc_trim(0)
        if _ours:
            library.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)


def processor() -> str:
    """The CPU's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def int8_instructions() -> tuple[str, ...]:
    """The CPU's instructions for products of 8-bit numbers, by their names in Linux; without any, INT8 gains little.

    Linux only: elsewhere none are found.
    """
    return tuple(name for name in _INT8_INSTRUCTIONS if name in _instructions())


def bf16_instructions() -> tuple[str, ...]:
    """The CPU's instructions for products in bf16, by their names in Linux; elsewhere none are found."""
    return tuple(name for name in _BF16_INSTRUCTIONS if name in _instructions())


def _instructions() -> set[str]:
    """Every instruction set that Linux names."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    return {
        flag for line in text.splitlines() if line.lower().startswith(("flags", "features")) for flag in line.split()
    }


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python's and every relevant installed package's version."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, str | int | dict[str, str]]:
    """Processor, cores, system and versions, as `bench --json` and manifests record them."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
    }


def peak_memory_bytes() -> int:
    """Peak resident size of this process.

    On Linux VmHWM, which starts anew when a program is executed; getrusage's figure would include the memory of the
    process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
