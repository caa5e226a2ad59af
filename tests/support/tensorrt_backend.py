"""How tests compile the C++ runtime's TensorRT backend."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import RUNTIME

BACKEND = RUNTIME / "src" / "tensorrt"
STAND_IN = RUNTIME / "tests" / "tensorrt"
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror"]


def tool(name: str) -> str:
    """A program's path."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def toolkit() -> Path:
    """The CUDA toolkit's folder."""
    for folder in [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]:
        if folder and (Path(folder) / "include" / "cuda_runtime_api.h").exists():
            return Path(folder)
    pytest.skip("needs the headers of the CUDA toolkit: install it, or set CUDA_HOME")


def done(*command: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=env, cwd=cwd)
    assert ran.returncode == 0, ran.stderr[-4000:] + ran.stdout[-4000:]
    return ran.stdout


def includes(*system_folders: Path) -> list[str]:
    """Compiler's options for the runtime's headers, and for others' whose warnings are not ours."""
    ours = [f"-I{folder}" for folder in (RUNTIME / "include", RUNTIME / "src", RUNTIME / "tests", STAND_IN)]
    return ours + [option for folder in system_folders for option in ("-isystem", str(folder))]
