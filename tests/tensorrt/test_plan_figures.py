"""What plans of a real SegFormer-B0 say, so that a change of builder, of graphs or of the reader shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import segexport
from segexport import checkpoint, passes
from segexport.lowering import Recipe, complete, lower
from segexport.passes.fold_decode_head import FoldDecodeHead
from segexport.tensorrt.plan import read_plan
from tests.support.ranges import min_max_of_one_scene

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
pytestmark = [pytest.mark.bundle, pytest.mark.slow]

# 512x512, 150 labels, TensorRT for RTX 1.7.1: fused attention, operations, MB of traffic, MB of weights. The head is as
# exported or folded; no other rewrite.
FIGURES = {
    ("plain", "fp32"): (0, 170, 1436, 14.9),
    ("folded", "fp32"): (0, 162, 1245, 13.9),
    ("plain", "fp16"): (6, 152, 650, 8.0),
    ("folded", "fp16"): (6, 145, 551, 7.5),
}


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    graph = segexport.export(checkpoint.load("b0", random_init=True), size=(512, 512), rewrites=False)
    requests = []
    for head in ("plain", "folded"):
        if head == "folded":
            graph = passes.run(graph, (FoldDecodeHead(),))
        graph.save(folder / f"{head} fp32.onnx")
        half, _ = lower(graph, complete(graph, Recipe("fp16", min_max_of_one_scene(graph))))
        half.save(folder / f"{head} fp16.onnx")
        for precision in ("fp32", "fp16"):
            name = str(folder / f"{head} {precision}")
            requests.append({"onnx": f"{name}.onnx", "plan": f"{name}.plan", "profiles": [], "targets": []})
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("build_plans.py"))],
        input=json.dumps(requests),
        text=True,
        check=True,
    )
    return folder


@pytest.mark.parametrize(("head", "precision"), FIGURES)
def test_figures(head, precision, plans):
    fused, operations, traffic, weights = FIGURES[head, precision]
    report = read_plan(plans / f"{head} {precision}.plan")
    (program,) = report.programs
    assert (program.attention.fused, program.attention.blocks) == (fused, 8)
    assert len(program.ops) == operations
    assert program.traffic_bytes / 1e6 == pytest.approx(traffic, rel=0.005)
    assert report.weights_bytes / 1e6 == pytest.approx(weights, rel=0.01)
    assert program.scratch_bytes is not None
    assert set(program.products) == {precision}
    assert not [one for one in program.fp32 if one.how == "product"]
    assert all(op.nodes for op in program.ops)
