"""The readers of a bundle's text files stand any bytes: fuzzed for seconds, and for a minute.

With the driver of runtime/tests/fuzz and g++, which keeps what reaches new code, or with libFuzzer where clang has it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import sanitized
from tests.support.runtime import RUNTIME

FUZZ = RUNTIME / "tests" / "fuzz"
SEED = 20261122
NEEDS = {"manifest": ("manifest",), "sums": ("bundle", "manifest", "sha256")}


def build(folder: Path, base: Path, target: str, optimization: str) -> Path:
    made = sanitized.objects(base, optimization)
    parts = [FUZZ / f"{target}_fuzz.cpp", FUZZ / "driver.cpp", *(made[name] for name in NEEDS[target])]
    sanitized.compile_(optimization, *sanitized.SANITIZERS, *parts, "-o", folder / target)
    return folder / target


def fuzz(program: Path, seconds: int) -> tuple[int, int, int, int, int]:
    done = sanitized.run(program, seconds, SEED, cwd=program.parent)
    print(done.stdout)
    found = re.fullmatch(
        r"(\d+) executions, (\d+) accepted, (\d+) refused, (\d+) kept for new code, (\d+) places reached\n", done.stdout
    )
    assert found is not None, done.stdout
    executions, accepted, refused, kept, reached = map(int, found.groups())
    return executions, accepted, refused, kept, reached


@pytest.mark.slow
def test_the_checksums(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = build(tmp_path, tmp_path_factory.getbasetemp(), "sums", "-O1")
    executions, accepted, refused, kept, _ = fuzz(program, 5)
    assert executions == accepted + refused
    assert accepted >= 1
    assert refused >= 1
    assert kept >= 1


@pytest.mark.slow
def test_a_minute(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    program = build(tmp_path, tmp_path_factory.getbasetemp(), "manifest", "-O1")
    executions, accepted, refused, _, _ = fuzz(program, 60)
    assert executions > 1000
    assert min(accepted, refused) > 10


@pytest.mark.slow
def test_a_minute_of_libfuzzer(tmp_path: Path) -> None:
    (tmp_path / "empty.cpp").write_text(
        '#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(const unsigned char*, std::size_t) { return 0; }\n'
    )
    flags = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    trial = ["clang++", *flags, str(tmp_path / "empty.cpp"), "-o", str(tmp_path / "empty")]
    if shutil.which("clang++") is None or subprocess.run(trial, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs clang++ with libFuzzer")
    sources = [FUZZ / "manifest_fuzz.cpp", RUNTIME / "src" / "manifest.cpp"]
    sanitized.compile_("-O1", *flags, *sources, "-o", tmp_path / "manifest", compiler="clang++")
    sanitized.run(tmp_path / "manifest", "-max_total_time=60", f"-seed={SEED}", cwd=tmp_path)


@pytest.mark.slow
def test_the_longest_manifests_take_bounded_memory(tmp_path: Path) -> None:
    parts = [RUNTIME / "tests" / "manifest_limits_test.cpp", RUNTIME / "src" / "manifest.cpp"]
    sanitized.compile_("-O2", *parts, "-o", tmp_path / "limits")
    sanitized.run(tmp_path / "limits")


def test_the_driver_tells_of_a_finding(tmp_path: Path) -> None:
    """A target that gives up on a byte that only changes lead to."""
    (tmp_path / "target.cpp").write_text(
        """
        #include "fuzz/target.hpp"
        std::vector<std::string> fuzz::seeds() { return {"{}"}; }
        std::vector<std::string> fuzz::dictionary() { return {"7"}; }
        extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
            for (std::size_t i = 0; i < size; ++i) fuzz::require(data[i] != '7', "a seven");
            return 0;
        }
        """
    )
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    sanitized.compile_("-O0", tmp_path / "target.cpp", FUZZ / "driver.cpp", "-o", tmp_path / "target")
    done = subprocess.run([tmp_path / "target", "20", "1"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode < 0
    assert done.stderr == "finding: a seven\n"
    assert b"7" in (tmp_path / "finding").read_bytes()
