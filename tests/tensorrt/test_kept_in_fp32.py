"""What FP16 graphs keep in FP32 is in FP32 in the plan: the builder would take casts around a product for FP16."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from segexport.precision.fp16 import to_fp16
from segexport.tensorrt.compile import compile_plan
from segexport.tensorrt.flavour import RTX
from segexport.tensorrt.options import DEFAULTS
from segexport.tensorrt.plan import read_plan
from tests.support import small_graphs
from tests.support.handmade import modules

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")

RNG = np.random.default_rng(7)
WEIGHTS = {name: RNG.normal(size=(32, 32, 3, 3)).astype(np.float32) for name in ("w", "v", "u")}


def products(path) -> dict[str, int]:
    compile_plan(RTX, path, path.with_suffix(".plan"), options=DEFAULTS)
    return read_plan(path.with_suffix(".plan")).programs[0].products


@pytest.mark.parametrize(
    ("peaks", "kept", "found"), [({}, (), {"fp16": 3}), ({"b": 60000.0}, ("b", "y"), {"fp16": 1, "fp32": 2})]
)
def test_a_convolution_near_the_largest_number(tmp_path, peaks, kept, found):
    planes = "float[1, 32, 64, 64]"
    convolution = "Conv <pads = [1, 1, 1, 1]>"
    body = f"a = {convolution} (x, w) b = {convolution} (a, v) y = {convolution} (b, u)"
    graph = modules(f"({planes} x) => ({planes} y)", body, WEIGHTS)
    assert to_fp16(graph, peaks) == kept
    ir.save(graph.model, tmp_path / "graph.onnx")
    assert products(tmp_path / "graph.onnx") == found


def test_the_builder_needs_to_be_told(tmp_path):
    """Casts alone do not keep a product in FP32. When this fails, `to_fp16` can do without its guards."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["a"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["wide", "v"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["b"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "u"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {"w": WEIGHTS["w"].astype(np.float16), "v": WEIGHTS["v"], "u": WEIGHTS["u"].astype(np.float16)}
    planes = [1, 32, 64, 64]
    small_graphs.save(
        tmp_path / "graph.onnx",
        nodes,
        [("x", TensorProto.FLOAT16, planes)],
        [("y", TensorProto.FLOAT16, planes)],
        constants,
    )
    assert products(tmp_path / "graph.onnx") == {"fp16": 3}
