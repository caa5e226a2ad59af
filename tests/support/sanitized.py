"""The runtime's reader of bundles, compiled once for the fuzzers with g++'s address and undefined sanitizers."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import RUNTIME

FLAGS = ["-std=c++17", "-g1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SOURCES = ("manifest", "bundle", "sha256", "image")
FUZZED = ("manifest", "bundle")


def run(*command: object, cwd: Path | None = None, **options) -> subprocess.CompletedProcess[str]:
    """A command's result; its output is the message where it fails."""
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, cwd=cwd, check=False, capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


def compile_(*arguments: object, compiler: str = "g++") -> None:
    json_headers = os.environ.get("SEGEXPORT_JSON_INCLUDE") or _json_headers()
    includes = [f"-I{RUNTIME / folder}" for folder in ("include", "src", "tests")]
    run(compiler, *FLAGS, "-Werror", *includes, "-isystem", json_headers, *arguments)


def _json_headers() -> str:
    if (found := importlib.util.find_spec("nlohmann_json")) is not None and found.origin is not None:
        return str(Path(found.origin).parent / "include")
    if Path("/usr/include/nlohmann/json.hpp").exists():
        return "/usr/include"
    pytest.skip("needs nlohmann-json's headers: pip install nlohmann-json, or apt install nlohmann-json3-dev")


@functools.cache
def objects(folder: Path, optimization: str) -> dict[str, Path]:
    """Object files of the sources, by name.

    `optimization` is that of the manifest's reader, which takes half a minute to compile with -O1.
    """
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder = folder / f"sanitized{optimization}"
    folder.mkdir()
    made = {name: folder / f"{name}.o" for name in SOURCES}
    for name in SOURCES:
        level = optimization if name == "manifest" else "-O1"
        fuzzed = ["-fsanitize-coverage=trace-pc"] if name in FUZZED else []
        compile_(level, *SANITIZERS, *fuzzed, "-c", RUNTIME / "src" / f"{name}.cpp", "-o", made[name])
    return made
