"""What TensorRT for RTX makes of the derived graphs, as its plans say: built for real, nothing is run.

Traffic is the sum of what all operations after fusion read and write; the figures are of version 1.7.1, and bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import segexport
from segexport import checkpoint, passes
from segexport.graph.graph import Graph
from segexport.lowering import Recipe, complete, derive_for_tensorrt, lower
from segexport.precision.fp16 import to_fp16
from segexport.spec import DYNAMIC, Size
from segexport.tensorrt.compile import compile_plan
from segexport.tensorrt.flavour import RTX
from segexport.tensorrt.options import DEFAULTS, profiles_of
from segexport.tensorrt.plan import read_plan
from segexport.tensorrt.plan_report import PlanReport
from tests.support.ranges import min_max_of_one_scene

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
pytestmark = [pytest.mark.bundle, pytest.mark.slow]

Reports = Callable[[str], PlanReport]


def built(graph: Graph, folder: Path) -> PlanReport:
    """The plan's report."""
    graph.save(folder / "engine.onnx")
    profiles = profiles_of(DEFAULTS, graph.contract)
    compile_plan(RTX, folder / "engine.onnx", folder / "plan", options=DEFAULTS, profiles=profiles)
    return read_plan(folder / "plan")


def half(name: str, size: Size, batch: int = 1) -> Graph:
    """A published network in FP16, with random weights, as if no number came near the largest."""
    graph = segexport.export(checkpoint.load(name, random_init=True), size=size, batch=batch)
    to_fp16(graph, {})
    return graph


@pytest.fixture(scope="module")
def b0() -> dict[str, Graph]:
    """B0's portable graphs at 512x512, 150 labels."""
    graph = segexport.export(checkpoint.load("b0", random_init=True), size=(512, 512))
    ranges = min_max_of_one_scene(graph)
    return {name: lower(graph, complete(graph, Recipe(name, ranges)))[0] for name in ("fp32", "fp16", "int8")}


@pytest.fixture(scope="module")
def reports(b0: dict[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """The report of each graph below, built when it is first asked for."""
    derived = {
        "fp16": lambda: derive_for_tensorrt(b0["fp16"], "graph"),
        "fp16, logits": lambda: derive_for_tensorrt(b0["fp16"], "device"),
        "fp16, scores in fp16": lambda: derive_for_tensorrt(b0["fp16"], "device", "fp16"),
        "fp32": lambda: derive_for_tensorrt(b0["fp32"], "graph"),
        "int8, logits": lambda: derive_for_tensorrt(b0["int8"], "device"),
    }
    found: dict[str, PlanReport] = {}

    def report(name: str) -> PlanReport:
        if name not in found:
            graph = b0["fp16"] if name == "portable" else derived[name]().graph
            assert graph is not None
            found[name] = built(graph, tmp_path_factory.mktemp("plan"))
        return found[name]

    return report


BOUNDS = {
    "fp16": (8, 125, 230e6, 35e6, 7.5e6),
    "fp16, logits": (8, 124, 225e6, 35e6, 7.5e6),
    "fp16, scores in fp16": (8, 124, 225e6, 35e6, 7.5e6),
    "fp32": (0, 145, 720e6, 60e6, 14e6),
}
"""Fused attention blocks; at most so many operations, and bytes of traffic, scratch and weights."""


@pytest.mark.parametrize("name", BOUNDS)
def test_what_the_builder_makes_of_a_b0(reports: Reports, name: str) -> None:
    fused, operations, traffic, scratch, weights = BOUNDS[name]
    report = reports(name)
    (program,) = report.programs
    assert (program.attention.fused, program.attention.blocks) == (fused, 8)
    assert len(program.ops) <= operations
    assert program.traffic_bytes is not None
    assert program.scratch_bytes is not None
    assert report.weights_bytes is not None
    assert program.traffic_bytes <= traffic
    assert program.scratch_bytes <= scratch
    assert report.weights_bytes <= weights


def test_without_the_passes_it_is_worse(reports: Reports) -> None:
    """So that the bounds above say something: stage 1 is not fused, and the upsampled logits move."""
    (program,) = reports("portable").programs
    assert program.attention.fused == 6
    assert program.traffic_bytes is not None
    assert program.traffic_bytes > 1.8 * BOUNDS["fp16"][2]


def test_what_the_scores_are_summed_in(reports: Reports) -> None:
    """The scores in FP32, in no more operations; their product with the values in FP16 either way."""
    (wide,), (narrow,) = reports("fp16, logits").programs, reports("fp16, scores in fp16").programs
    assert wide.attention.accumulates == (("fp32", "fp16"),)
    assert narrow.attention.accumulates == (("fp16", "fp16"),)
    assert len(wide.ops) == len(narrow.ops)
    assert wide.traffic_bytes == narrow.traffic_bytes


def test_the_feed_forward_blocks_fuse(reports: Reports) -> None:
    """The depthwise convolution and GELU are one kernel in all eight blocks."""
    (program,) = reports("fp16").programs
    fused = [
        op
        for op in program.ops
        if any("dwconv" in node for node in op.nodes) and any("activation_fn" in node for node in op.nodes)
    ]
    assert len(fused) == 8


def test_int8_keeps_attention_fused_and_moves_more(reports: Reports) -> None:
    """On this builder INT8 is no gain: its convolutions write FP32, and a second kernel scales them."""
    (int8,), (fp16,) = reports("int8, logits").programs, reports("fp16, logits").programs
    assert int8.attention.fused == 8
    assert int8.traffic_bytes is not None
    assert fp16.traffic_bytes is not None
    assert int8.traffic_bytes > fp16.traffic_bytes
    depthwise = [op for op in int8.ops if op.product and any("dwconv" in node for node in op.nodes)]
    assert {op.computes for op in depthwise} == {"fp16"}


def test_an_open_batch(tmp_path: Path) -> None:
    graph = derive_for_tensorrt(half("b0", (512, 512), DYNAMIC), "graph").graph
    assert graph is not None
    report = built(graph, tmp_path)
    assert [(one.attention.fused, one.attention.blocks) for one in report.programs] == [(8, 8)]


@pytest.mark.parametrize(
    ("name", "size", "blocks"),
    [
        ("b0", (360, 480), 8),
        ("b0", (260, 260), 8),  # 65 x 65 queries: five parts
        ("b0", (512, 1024), 8),
        ("b0", (1024, 1024), 8),
        ("b1", (512, 512), 8),
        ("b2", (360, 480), 16),
        ("b5", (512, 512), 52),  # of the same blocks as B3 and B4, and more of them
    ],
)
def test_every_block_fuses(name: str, size: Size, blocks: int, tmp_path: Path) -> None:
    derived = derive_for_tensorrt(half(name, size))
    assert derived.graph is not None
    split = next(result for result in derived.rewrites if result.name == passes.SplitQueries.name)
    assert {one.reason for one in split.declined} == {f"it has {heads} heads" for heads in (2, 5, 8)}
    (program,) = built(derived.graph, tmp_path).programs
    assert (program.attention.fused, program.attention.blocks) == (blocks, blocks)
