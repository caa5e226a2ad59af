"""The real builder of TensorRT for RTX, which needs no GPU, in its own process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from onnx import TensorProto

from segexport.errors import EngineUnavailable, OutputError, UnsupportedOnTarget
from segexport.tensorrt.compile import Tensor, compile_plan
from segexport.tensorrt.flavour import CLASSIC, RTX
from segexport.tensorrt.options import TensorRtOptions, parse_profile
from tests.support import small_graphs

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")

DEFAULT = TensorRtOptions()


def compiled(graph: Path, *, options: TensorRtOptions = DEFAULT, **more) -> Path:
    plan = graph.with_suffix(".plan")
    compile_plan(RTX, graph, plan, options=options, **more)
    return plan


def test_what_comes_of_a_build(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    steps = []
    made = compile_plan(RTX, graph, tmp_path / "engine.plan", options=DEFAULT, progress=steps.append)
    assert made.inputs == (Tensor("image", "uint8", (1, 64, 96, 3)),)
    assert made.outputs == (Tensor("mask", "uint8", (1, 64, 96)),)
    assert (tmp_path / "engine.plan").stat().st_size > 1000
    assert any("cloning network graph" in step for step in steps)
    assert all(step.startswith("TensorRT builds: ") for step in steps)


def test_two_builds_are_the_same_bytes(tmp_path):
    one = compiled(small_graphs.segmenter(tmp_path / "one.onnx"))
    other = compiled(small_graphs.segmenter(tmp_path / "other.onnx"))
    assert one.read_bytes() == other.read_bytes()


def test_targets_decide_what_is_in_the_plan(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    plans = {}
    for targets in ((), ("sm86",), ("sm86", "sm89"), ("sm75",)):
        plans[targets] = compiled(graph, options=TensorRtOptions(targets=targets)).read_bytes()
    assert len(set(plans.values())) >= 3
    assert len(plans["sm75",]) > len(plans["sm86",])  # kernels of its own


@pytest.mark.parametrize(
    "profiles", [("1x64x96",), ("1x64x96:2x64x96:4x128x192",), ("1x64x96", "1x128x128")], ids=" ".join
)
def test_open_dimensions_are_built_with_profiles(tmp_path, profiles):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx", batch="batch", height="height", width="width")
    made = compile_plan(
        RTX, graph, tmp_path / "engine.plan", options=DEFAULT, profiles=tuple(map(parse_profile, profiles))
    )
    assert made.outputs == (Tensor("mask", "uint8", (-1, -1, -1)),)


def test_open_dimensions_without_a_profile(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx", batch="batch")
    with pytest.raises(UnsupportedOnTarget, match=r"built no engine.*profile"):
        compiled(graph)
    assert not graph.with_suffix(".plan").exists()


def test_a_target_that_this_version_does_not_know(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    with pytest.raises(UnsupportedOnTarget, match=r"does not build for sm99.*sm75, sm80, sm86"):
        compiled(graph, options=TensorRtOptions(targets=("sm99",)))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "holds no graph"), (b"garbage", "export it again|ModelImporter|parse")]
)
def test_files_that_are_no_graph(tmp_path, content, reason):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(UnsupportedOnTarget, match=f"bad.onnx.*({reason})"):
        compiled(tmp_path / "bad.onnx")


def test_operators_that_it_does_not_take_are_named(tmp_path):
    graph = small_graphs.one_node(
        tmp_path / "bad.onnx",
        "MatMulInteger",
        (TensorProto.INT8, TensorProto.INT8),
        TensorProto.INT32,
    )
    with pytest.raises(UnsupportedOnTarget, match=r"does not take the/MatMulInteger \(MatMulInteger\).*doctor"):
        compiled(graph)


def test_mixed_types_are_named(tmp_path):
    graph = small_graphs.one_node(tmp_path / "bad.onnx", "Add", (TensorProto.FLOAT, TensorProto.FLOAT16))
    with pytest.raises(UnsupportedOnTarget, match=r"Add"):
        compiled(graph)


def test_a_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    with pytest.raises(OutputError, match="no room"):
        compile_plan(RTX, graph, Path("/dev/full"), options=DEFAULT)


def test_a_tensorrt_that_is_not_installed(tmp_path):
    if CLASSIC.installed():
        pytest.skip("classic TensorRT is installed")
    with pytest.raises(EngineUnavailable, match=r"tensorrt is not installed: .*python3-libnvinfer"):
        compile_plan(CLASSIC, small_graphs.segmenter(tmp_path / "graph.onnx"), tmp_path / "x", options=DEFAULT)


def children() -> list[int]:
    tasks = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    if not tasks.exists():
        pytest.skip("needs Linux's /proc to find the builder's process")
    return [int(pid) for pid in tasks.read_text().split()]


def test_ctrl_c_ends_the_builder(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    before = set(children())
    seen: set[int] = set()

    def stop(step: str) -> None:
        seen.update(set(children()) - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_plan(RTX, graph, tmp_path / "engine.plan", options=DEFAULT, progress=stop)
    assert seen
    assert not seen & set(children())
    assert not (tmp_path / "engine.plan").exists()


def test_a_builder_that_dies_is_an_error(tmp_path):
    graph = small_graphs.segmenter(tmp_path / "graph.onnx")
    before = set(children())

    def shoot(step: str) -> None:
        for pid in set(children()) - before:
            os.kill(pid, signal.SIGSEGV)

    with pytest.raises(UnsupportedOnTarget, match="builder was ended by SIGSEGV"):
        compile_plan(RTX, graph, tmp_path / "engine.plan", options=DEFAULT, progress=shoot)
