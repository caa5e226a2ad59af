"""The compiled class map is upsampling and argmax after each other: as PyTorch and ONNX Runtime compute them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import segexport
from segexport import native
from segexport.bundle import Bundle
from segexport.engines import open_runner
from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import Size
from tests.support.class_maps import (
    CLASSES,
    KINDS,
    OnnxRuntime,
    assert_equal_maps,
    few_values,
    huge,
    logits_of,
    noise,
    on_the_border,
    upsampled,
    winner_inside,
)
from tests.support.properties import examples

ROOT = Path(__file__).parents[1]
COMPILED = pytest.mark.skipif(not native.available(), reason=native.MISSING)


@COMPILED
class TestClassMap:
    @given(
        kind=st.sampled_from(KINDS),
        seed=st.integers(0, 2**32 - 1),
        batch=st.integers(1, 3),
        grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        classes=CLASSES,
        threads=st.integers(1, 8),
    )
    @examples(120)
    @example(winner_inside, 0, 2, (4, 5), (16, 20), 3, 2)
    @example(winner_inside, 0, 1, (6, 6), (37, 13), 33, 3)
    @example(on_the_border, 0, 1, (5, 7), (5, 7), 17, 1)
    @example(noise, 0, 1, (9, 9), (2, 3), 255, 8)
    def test_any_logits_sizes_and_threads(
        self, kind, seed: int, batch: int, grid: Size, size: Size, classes: int, threads: int
    ) -> None:
        logits = logits_of(kind, seed, (batch, *grid, classes))
        planes = upsampled(logits, size)
        found = native.class_map(logits, size, threads)
        assert_equal_maps(found, logits, planes, planes.argmax(1))

    @given(
        kind=st.sampled_from(KINDS),
        seed=st.integers(0, 2**32 - 1),
        grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        classes=CLASSES,
    )
    @examples(40)
    def test_as_the_portable_graph_ends(self, kind, seed: int, grid: Size, size: Size, classes: int) -> None:
        logits = logits_of(kind, seed, (2, *grid, classes))
        planes, want = OnnxRuntime(classes, size)(logits)
        assert_equal_maps(native.class_map(logits, size, 2), logits, planes, want)

    @given(
        seed=st.integers(0, 2**32 - 1),
        grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
        factors=st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8])),
        classes=CLASSES,
        largest=st.sampled_from([1, 2, 100]),
        threads=st.integers(1, 8),
    )
    @examples(80)
    def test_where_nothing_is_rounded_every_tie_goes_to_the_lowest_id(
        self, seed: int, grid: Size, factors: Size, classes: int, largest: int, threads: int
    ) -> None:
        """Whole numbers and weights of sixteenths: float32 holds every product and sum."""
        size = (grid[0] * factors[0], grid[1] * factors[1])
        logits = np.random.default_rng(seed).integers(-largest, largest + 1, (1, *grid, classes)).astype(np.float32)
        np.testing.assert_array_equal(native.class_map(logits, size, threads), upsampled(logits, size).argmax(1))

    def test_ties_go_to_the_lowest_id_in_onnx_runtime_too(self) -> None:
        logits = np.random.default_rng(0).integers(-1, 2, (2, 12, 11, 40)).astype(np.float32)
        planes, want = OnnxRuntime(40, (48, 44))(logits)
        best = np.sort(planes, axis=1)
        assert (best[:, -1] == best[:, -2]).mean() > 0.1, "hardly a tie"
        np.testing.assert_array_equal(native.class_map(logits, (48, 44), 2), want)

    def test_a_class_that_wins_at_no_point_wins_between_them(self) -> None:
        logits = logits_of(winner_inside, 0, (1, 4, 4, 2))
        logits = np.concatenate([logits[..., :1], -logits[..., :1], np.full((1, 4, 4, 1), 0.5)], -1).astype(np.float32)
        assert 2 not in native.class_map(logits, (4, 4), 1)
        assert 2 in native.class_map(logits, (16, 16), 1)

    def test_of_the_same_size_it_is_the_argmax(self) -> None:
        logits = logits_of(noise, 0, (2, 33, 47, 150))
        np.testing.assert_array_equal(native.class_map(logits, (33, 47), 3), logits.argmax(3))

    @pytest.mark.parametrize("classes", [11, 19])
    def test_a_quarter_of_full_hd_and_a_size_that_is_no_multiple(self, classes: int) -> None:
        """Large fields of few classes, as a real mask has them, with noise at their borders."""
        rng = np.random.default_rng(0)
        coarse = logits_of(noise, 1, (1, 9, 16, classes))
        for grid, size in (((135, 240), (1080, 1920)), ((135, 240), (301, 517)), ((135, 240), (97, 100))):
            field = upsampled(coarse, grid).transpose(0, 2, 3, 1) + 0.05 * rng.normal(size=(1, *grid, classes))
            logits = np.ascontiguousarray(field, np.float32)
            planes = upsampled(logits, size)
            want = planes.argmax(1)
            found = native.class_map(logits, size, 2)
            assert_equal_maps(found, logits, planes, want)
            assert (found != want).mean() < 1e-4

    @given(threads=st.integers(2, 64), seed=st.integers(0, 99))
    @examples(30)
    def test_threads_change_nothing(self, threads: int, seed: int) -> None:
        logits = logits_of(noise, seed, (1, 13, 9, 21))
        np.testing.assert_array_equal(
            native.class_map(logits, (50, 41), threads), native.class_map(logits, (50, 41), 1)
        )

    def test_every_image_of_a_batch_is_its_own(self) -> None:
        logits = logits_of(noise, 0, (5, 6, 7, 20))
        together = native.class_map(logits, (24, 28), 2)
        for one, alone in zip(together, logits, strict=True):
            np.testing.assert_array_equal(one, native.class_map(alone[None], (24, 28), 2)[0])
        assert native.class_map(logits[:0], (24, 28), 2).shape == (0, 24, 28)

    def test_memory_of_any_order_that_may_only_be_read(self) -> None:
        planes = logits_of(noise, 0, (2, 19, 8, 9))
        want = native.class_map(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), (30, 31), 1)
        planes.flags.writeable = False
        before = planes.copy()
        np.testing.assert_array_equal(native.class_map(planes.transpose(0, 2, 3, 1), (30, 31), 1), want)
        contiguous = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        contiguous.flags.writeable = False
        np.testing.assert_array_equal(native.class_map(contiguous, (30, 31), 1), want)
        np.testing.assert_array_equal(planes, before)

    @pytest.mark.parametrize(
        ("logits", "named"),
        [
            (np.zeros((1, 4, 4, 3), np.float64), "float64"),
            (np.zeros((1, 4, 4, 3), np.float16), "float16"),
            (np.zeros((1, 4, 4, 3), ">f4"), ">f4"),
            (np.zeros((4, 4, 3), np.float32), r"\[4, 4, 3\]"),
            (np.zeros((1, 1, 4, 4, 3), np.float32), r"\[1, 1, 4, 4, 3\]"),
            (np.zeros((1, 4, 4, 256), np.float32), "at most 255"),
            (np.zeros((1, 4, 4, 0), np.float32), r"\[1, 4, 4, 0\]"),
            (np.zeros((1, 0, 4, 3), np.float32), r"\[1, 0, 4, 3\]"),
        ],
    )
    def test_what_are_no_logits_is_refused(self, logits: np.ndarray, named: str) -> None:
        with pytest.raises(ContractError, match=named):
            native.class_map(logits, (8, 8), 1)

    @pytest.mark.parametrize(("size", "threads"), [((0, 8), 1), ((8, 0), 1), ((8, -1), 1), ((8, 8), 0)])
    def test_an_empty_class_map_is_refused(self, size: Size, threads: int) -> None:
        with pytest.raises(ContractError, match="1 or more"):
            native.class_map(np.zeros((1, 4, 4, 3), np.float32), size, threads)

    @pytest.mark.parametrize(
        ("logits", "found", "threads"),
        [
            (np.zeros((1, 4, 4, 3)), np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 4, 3), np.int32), np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((4, 4, 3), np.float32), np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 8, 8), np.int8), 1),
            (np.zeros((1, 4, 4, 3), np.float32), np.zeros((2, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 8, 16), np.uint8)[..., ::2], 1),
            (np.zeros((1, 4, 4, 3), np.float32).T, np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 4, 256), np.float32), np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 0, 3), np.float32), np.zeros((1, 8, 8), np.uint8), 1),
            (np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 8, 0), np.uint8), 1),
            (np.zeros((1, 4, 4, 3), np.float32), np.zeros((1, 8, 8), np.uint8), 0),
            (np.zeros((1, 4, 4, 3), np.float32), b"12345678", 1),
            (None, None, 1),
        ],
    )
    def test_the_compiled_part_itself_writes_nowhere_else(self, logits, found, threads: int) -> None:
        """It is told what its own wrapper would never pass."""
        compiled = native._module()
        with pytest.raises((TypeError, ValueError, BufferError)):
            compiled.class_map(logits, found, threads)

    def test_the_map_must_be_writable(self) -> None:
        found = np.zeros((1, 8, 8), np.uint8)
        found.flags.writeable = False
        with pytest.raises((ValueError, BufferError)):
            native._module().class_map(np.ones((1, 4, 4, 3), np.float32), found, 1)


class TestWithoutTheCompiledPart:
    @pytest.fixture(autouse=True)
    def missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "segexport.native._class_map", None)  # what import finds, where it is absent

    def test_it_says_so_and_names_the_remedy(self) -> None:
        assert not native.available()
        with pytest.raises(EngineUnavailable, match=r"install a C\+\+ compiler .* and reinstall segexport"):
            native.class_map(np.zeros((1, 4, 4, 3), np.float32), (8, 8), 1)

    @pytest.mark.bundle
    def test_a_bundle_is_built_with_the_class_map_in_its_graph(self, bundle: Bundle, tmp_path: Path) -> None:
        built = segexport.rebuild(bundle, tmp_path / "without", engine="onnxruntime")
        assert built.manifest.engine.class_map == "graph"
        (declined,) = built.manifest.engine.rewrites[-1].declined
        assert declined.reason == native.MISSING
        assert segexport.selftest(built).agreement == 1

    @pytest.mark.bundle
    def test_a_bundle_that_needs_it_is_refused_in_one_sentence(self, tmp_path: Path, request, monkeypatch) -> None:
        with monkeypatch.context() as present:
            present.delitem(sys.modules, "segexport.native._class_map")
            if not native.available():
                pytest.skip(native.MISSING)
            bundle: Bundle = request.getfixturevalue("bundle")
        monkeypatch.setitem(sys.modules, "segexport.native._class_map", None)
        assert bundle.manifest.engine.class_map == "host"
        with pytest.raises(EngineUnavailable, match=r"reinstall segexport, or .* build --from-bundle") as caught:
            open_runner(bundle)
        assert str(bundle.folder) in str(caught.value)
        assert "\n" not in str(caught.value)


MAIN = """
#include <cstdio>
#include <vector>

#include "segexport/class_map.hpp"

int main() {
    int sizes[6];  // height, width, classes, out_height, out_width, threads
    if (std::fread(sizes, sizeof(int), 6, stdin) != 6) return 1;
    std::vector<float> logits(static_cast<std::size_t>(sizes[0]) * sizes[1] * sizes[2]);
    if (std::fread(logits.data(), sizeof(float), logits.size(), stdin) != logits.size()) return 2;
    std::vector<std::uint8_t> map(static_cast<std::size_t>(sizes[3]) * sizes[4]);
    segexport::class_map(logits.data(), sizes[0], sizes[1], sizes[2], map.data(), sizes[3], sizes[4], sizes[5]);
    return std::fwrite(map.data(), 1, map.size(), stdout) == map.size() ? 0 : 3;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_header_stands_alone(tmp_path: Path) -> None:
    """A C++ program needs the header and nothing else, and gets what Python gets."""
    (tmp_path / "main.cpp").write_text(MAIN)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread", "-ffp-contract=off", "-O1"]
    include = f"-I{ROOT / 'runtime' / 'include'}"
    command = ["g++", *flags, include, "main.cpp", "-o", "main"]
    compiled = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    for kind, grid, classes, size in (
        (noise, (11, 13), 19, (44, 52)),
        (few_values, (11, 13), 150, (37, 60)),
        (huge, (5, 4), 3, (3, 17)),
    ):
        logits = logits_of(kind, 0, (1, *grid, classes))
        given_ = np.array([*grid, classes, *size, 3], np.int32).tobytes() + logits.tobytes()
        done = subprocess.run([tmp_path / "main"], input=given_, check=True, capture_output=True)
        found = np.frombuffer(done.stdout, np.uint8).reshape(1, *size)
        planes = upsampled(logits, size)
        assert_equal_maps(found, logits, planes, planes.argmax(1))
        if native.available():
            np.testing.assert_array_equal(found, native.class_map(logits, size, 1))
