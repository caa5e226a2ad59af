"""The C++ runtime is built, tested, installed, used by another project, sanitized, and compiled for ARM."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport.bundle import Bundle

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "runtime"
CONSUMER = Path(__file__).parent / "consumer"
TOOLCHAIN = RUNTIME / "cmake" / "aarch64-linux-gnu.cmake"


def run(*command: object, **environment: str) -> str:
    """What a command prints; its output is the failure's text."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    return Path(str(found and found.origin)).parent


def ctest(build: Path, bundle: Bundle) -> str:
    return run(
        *("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error"),
        SEGEXPORT_TEST_BUNDLE=str(bundle.folder),
    )


@pytest.mark.slow
def test_the_tests_in_cpp_pass(runtime_build: Path, openvino_bundle: Bundle) -> None:
    said = ctest(runtime_build, openvino_bundle)
    for name in ("segmenter_test", "steady_state_test", "manifest_test", "class_map_test", "preprocess_test"):
        assert f"{name} ." in said, said
    assert "Skipped" not in said.replace("tensorrt", ""), said


@pytest.mark.slow
def test_another_project_finds_it_and_makes_equal_masks(
    runtime_build: Path, openvino_bundle: Bundle, tmp_path: Path
) -> None:
    run("cmake", "--install", runtime_build, "--prefix", tmp_path / "installed")
    run(
        *("cmake", "-S", CONSUMER, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}"),
        f"-DOpenVINO_DIR={package('openvino') / 'cmake'}",
    )
    run("cmake", "--build", tmp_path / "build")
    with segexport.open(openvino_bundle.folder) as net:
        height, width = net.runner.contract.image_size
        image = np.random.default_rng(0).integers(0, 256, (height + 7, width * 2, 3), np.uint8)
        expected = net.run(image).mask
    consumer = [str(tmp_path / "build" / "consumer"), str(openvino_bundle.folder), *map(str, image.shape[:2])]
    done = subprocess.run(consumer, input=image.tobytes(), capture_output=True, check=True)
    assert expected is not None
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.uint8).reshape(expected.shape), expected)


@pytest.mark.slow
def test_sanitizers_find_nothing(openvino_bundle: Bundle, tmp_path: Path) -> None:
    run(
        *("cmake", "-S", RUNTIME, "-B", tmp_path, "-DSEGEXPORT_SANITIZE=address,undefined"),
        f"-DOpenVINO_DIR={package('openvino') / 'cmake'}",
        f"-DSEGEXPORT_JSON_INCLUDE={package('nlohmann_json') / 'include'}",
        # More optimisation takes twice as long to compile; ctest runs no example.
        *("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g1", "-DSEGEXPORT_EXAMPLES=OFF"),
    )
    run("cmake", "--build", tmp_path, "--parallel", "2")
    ctest(tmp_path, openvino_bundle)


@pytest.mark.slow
def test_it_compiles_for_arm(tmp_path: Path) -> None:
    """Everything that needs neither CUDA nor OpenVINO's libraries; its tests run too where qemu is."""
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu")
    run(
        *("cmake", "-S", RUNTIME, "-B", tmp_path, f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}", "-DSEGEXPORT_WERROR=ON"),
        *("-DSEGEXPORT_OPENVINO=OFF", f"-DSEGEXPORT_JSON_INCLUDE={package('nlohmann_json') / 'include'}"),
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu",
    )
    run("cmake", "--build", tmp_path, "--parallel", "2")
    machine = run("aarch64-linux-gnu-readelf", "-h", tmp_path / "tests" / "manifest_test")
    assert "AArch64" in machine
    # OpenVINO's part against its headers, which are the same for every processor.
    run(
        *("aarch64-linux-gnu-g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-c", RUNTIME / "src" / "openvino.cpp"),
        *(f"-I{RUNTIME / 'include'}", f"-I{RUNTIME / 'src'}", "-isystem", package("openvino") / "include"),
        *("-o", tmp_path / "openvino.o"),
    )
    if shutil.which("qemu-aarch64") is not None:
        run("ctest", "--test-dir", tmp_path, "--output-on-failure", "--no-tests=error")
