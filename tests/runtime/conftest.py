"""The C++ runtime, built once a session."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.once import made_once
from tests.support.properties import thorough
from tests.support.runtime import RUNTIME


@pytest.fixture(scope="session")
def runtime_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder: library, shared library and the reader of bundles, with warnings as errors."""
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, to build the C++ runtime")
    openvino, json = _package("openvino"), _package("nlohmann_json")

    # As it is released in a thorough run; elsewhere optimised less, which compiles in two thirds of the time. There g++
    # takes the counting allocators of the test of the steady state for a mistake.
    quick = [] if thorough() else ["-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG -Wno-mismatched-new-delete"]

    def build(folder: Path) -> None:
        _run(
            *("cmake", "-S", str(RUNTIME), "-B", str(folder), "-DSEGEXPORT_WERROR=ON", *quick),
            *(f"-DOpenVINO_DIR={openvino / 'cmake'}", f"-DSEGEXPORT_JSON_INCLUDE={json / 'include'}"),
        )
        _run("cmake", "--build", str(folder), "--parallel", "2", "--target", "segexport_shared", "bundle_reader")

    return made_once(tmp_path_factory, "runtime", build)


@pytest.fixture(scope="session")
def runtime_build(tmp_path_factory: pytest.TempPathFactory, runtime_library: Path) -> Path:
    """The same with all tests and examples, which take most of the time: for slow tests."""
    made_once(
        tmp_path_factory,
        "runtime-all",
        lambda _: _run("cmake", "--build", str(runtime_library), "--parallel", "2"),
    )
    return runtime_library


@pytest.fixture(scope="session")
def shared_library(runtime_library: Path) -> Path:
    """The library as other languages load it."""
    return runtime_library / "tests" / "libsegexport.so"


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs the Python package {name}, to build the C++ runtime with")
    return Path(found.origin).parent


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
