"""The real parser and builder of TensorRT for RTX take every precision; nothing is run, which would need a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import segexport
from segexport import checkpoint
from segexport.errors import UnsupportedOnTarget
from segexport.graph.graph import Graph
from segexport.lowering import Recipe, complete, lower
from segexport.precision.layers import layers
from segexport.precision.ranges import Ranges
from segexport.spec import Precision
from segexport.tensorrt.compile import Tensor, compile_plan
from segexport.tensorrt.flavour import RTX
from segexport.tensorrt.options import DEFAULTS, profiles_of
from tests.support.checkpoints import SIZE
from tests.support.contracts import CLASSIFIER, pick
from tests.support.ranges import min_max_of_one_scene

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
pytestmark = [pytest.mark.bundle, pytest.mark.slow]

NETWORK = (512, 512)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def saved_in(graph: Graph, precision: Precision, ranges: Ranges, folder: Path) -> Path:
    made, lowering = lower(graph, complete(graph, Recipe(precision, ranges)))
    assert (lowering is not None and bool(lowering.int8)) == (precision == "int8")
    made.save(folder / "model.onnx")
    return folder / "model.onnx"


PUBLISHED: list[tuple[str, Precision]] = [(name, precision) for name in ("b0", "b2") for precision in PRECISIONS]
PUBLISHED += [("b5", "int8")]  # in FP16 tests/passes/test_tensorrt_plans.py builds it


@pytest.fixture(scope="module")
def real() -> Callable[[str], tuple[Graph, Ranges]]:
    """A published network with random weights and its 150 labels, and ranges."""

    @lru_cache(maxsize=1)
    def made(name: str) -> tuple[Graph, Ranges]:
        graph = segexport.export(checkpoint.load(name, random_init=True), size=NETWORK)
        assert len(graph.labels) == 150
        return graph, min_max_of_one_scene(graph)

    return made


@pytest.mark.parametrize(("name", "precision"), PUBLISHED)
def test_published_networks(
    real: Callable[[str], tuple[Graph, Ranges]],
    name: str,
    precision: Precision,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    graph, ranges = real(name)
    plan = tmp_path / "engine.plan"
    made = compile_plan(RTX, saved_in(graph, precision, ranges, tmp_path), plan, options=DEFAULTS)
    assert made.outputs == (Tensor("mask", "uint8", (1, *NETWORK)),)
    weights = sum(value.const_value.nbytes for value in graph.model.graph.initializers.values() if value.const_value)
    share = {"fp32": 1, "fp16": 0.5, "int8": 0.25}[precision]
    assert plan.stat().st_size > share * weights
    record_property("model", name)
    record_property("precision", precision)
    record_property("engine_mb", round(plan.stat().st_size / 1e6, 1))


CONTRACTS = pick(
    *("scores of a dynamic batch", "logits of two images in bgr", "letterbox", "without rewrites", CLASSIFIER),
    size=SIZE,
)


@pytest.fixture(scope="module", params=CONTRACTS)
def contract(request: pytest.FixtureRequest, checkpoint: Path, classifier: Path) -> tuple[Graph, Ranges]:
    """The small checkpoint behind each contract."""
    model = classifier if request.param == CLASSIFIER else checkpoint
    graph = segexport.export(model, **CONTRACTS[request.param])
    return graph, min_max_of_one_scene(graph)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_contract(contract: tuple[Graph, Ranges], precision: Precision, tmp_path: Path) -> None:
    graph, ranges = contract
    profiles = profiles_of(DEFAULTS, graph.contract)
    onnx = saved_in(graph, precision, ranges, tmp_path)
    made = compile_plan(RTX, onnx, tmp_path / "engine.plan", options=DEFAULTS, profiles=profiles)
    types = {"mask": "uint8", "confidence": "float", "logits": "float", "classes": "int32", "scores": "float"}
    assert made.outputs
    for tensor in made.outputs:
        assert (tensor.dtype, tensor.shape[0]) == (types[tensor.name], graph.contract.batch)


def test_the_checks_can_fail(checkpoint: Path, tmp_path: Path) -> None:
    """A graph that mixes types is refused, so that a graph that is taken says something."""
    graph = segexport.export(checkpoint, size=SIZE)
    made, _ = lower(graph, complete(graph, Recipe("fp16", min_max_of_one_scene(graph))))
    name = next(layer.node.inputs[2].name for layer in layers(made.model.graph) if layer.kind == "convolution")
    bias = made.model.graph.initializers[name]
    bias.const_value = ir.tensor(bias.const_value.numpy().astype(np.float32), name=name)
    bias.type = ir.TensorType(ir.DataType.FLOAT)
    made.save(tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOnTarget):
        compile_plan(RTX, tmp_path / "model.onnx", tmp_path / "engine.plan", options=DEFAULTS)
