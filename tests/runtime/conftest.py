"""The C++ runtime, built once a session, and a bundle that it opens."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import segexport
from segexport.bundle import Bundle

RUNTIME = Path(__file__).parents[2] / "runtime"
SIZE = (64, 96)


@pytest.fixture(scope="session")
def runtime_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder: library, tests and examples, with warnings as errors."""
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, to build the C++ runtime")
    openvino, json = _package("openvino"), _package("nlohmann_json")
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent  # which the workers share: one builds, the others wait
    build = temporary / "runtime"
    with _locked(temporary / "runtime.lock"):
        if not (build / "built").exists():
            _run(
                *("cmake", "-S", str(RUNTIME), "-B", str(build), "-DSEGEXPORT_WERROR=ON"),
                *(f"-DOpenVINO_DIR={openvino / 'cmake'}", f"-DSEGEXPORT_JSON_INCLUDE={json / 'include'}"),
            )
            _run("cmake", "--build", str(build), "--parallel", "2")
            (build / "built").touch()
    return build


@pytest.fixture(scope="session")
def shared_library(runtime_build: Path) -> Path:
    """The library as other languages load it."""
    return runtime_build / "tests" / "libsegexport.so"


@pytest.fixture(scope="session")
def openvino_bundle(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The checkpoint built for OpenVINO at 64x96. Read-only: copy it before changing anything."""
    pytest.importorskip(
        "openvino", reason='the runtime\'s CPU engine is not installed: pip install "segexport[openvino]"'
    )
    return segexport.build(checkpoint, tmp_path_factory.mktemp("openvino") / "tiny", engine="openvino", size=SIZE)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"needs the Python package {name}, to build the C++ runtime with")
    return Path(found.origin).parent


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
