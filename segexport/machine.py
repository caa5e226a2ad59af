"""What machine this is: facts that figures are worthless without."""

from __future__ import annotations

import os
import platform
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

_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
_INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


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
