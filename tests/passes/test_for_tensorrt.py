"""What TensorRT compiles in place of the portable graph computes the same, in every precision, for every contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import segexport
from segexport import passes
from segexport.graph.graph import Graph
from segexport.lowering import Derived, Recipe, complete, derive_for_tensorrt, lower, precision_of
from segexport.precision.emulate import emulate_fp16
from segexport.spec import Precision
from tests.support.checkpoints import SIZE
from tests.support.contracts import pick
from tests.support.float_types import mixed
from tests.support.ranges import min_max_of_one_scene

pytestmark = pytest.mark.bundle

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
CONTRACTS = pick(
    *("mask", "dynamic batch", "mask at the network's size", "scores", "logits at the network's size"), size=SIZE
)


@pytest.fixture(scope="module")
def portables(checkpoint: Path) -> dict[tuple[str, Precision], Graph]:
    """The small checkpoint's portable graphs."""
    found = {}
    for name, contract in CONTRACTS.items():
        graph = segexport.export(checkpoint, **contract)
        ranges = min_max_of_one_scene(graph)
        for precision in PRECISIONS:
            found[name, precision] = lower(graph, complete(graph, Recipe(precision, ranges)))[0]
    return found


def run(graph: Graph, count: int = 1) -> dict[str, np.ndarray]:
    """As ONNX Runtime computes it without rewrites of its own, every rounding to FP16 spelled out."""
    made = graph.copy()
    emulate_fp16(made)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = ir.to_proto(made.model).SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": IMAGES[:count]}), strict=True))


def counts(derived: Derived) -> dict[str, int]:
    return {result.name: len(result.rewritten) for result in derived.rewrites}


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_outputs_stay(
    portables: dict[tuple[str, Precision], Graph], contract: str, precision: Precision, tmp_path: Path
) -> None:
    """A class map may differ where two logits tie to rounding, of which there are few; logits in the last places."""
    portable = portables[contract, precision]
    assert precision_of(portable) == precision
    derived = derive_for_tensorrt(portable, "graph")
    assert derived.graph is not None
    assert derived.graph.contract == portable.contract
    derived.graph.save(tmp_path / "engine.onnx")
    onnx.checker.check_model(tmp_path / "engine.onnx", full_check=True)
    assert mixed(ir.to_proto(derived.graph.model)) == []
    count = 2 if contract == "dynamic batch" else 1
    before, after = run(portable, count), run(derived.graph, count)
    assert list(before) == list(after)
    for name, wanted in before.items():
        found = after[name]
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if name == "mask":
            assert len(np.unique(wanted)) > 3
            assert (found == wanted).mean() > (0.999 if precision == "fp32" else 0.99)
        else:
            bound = 1e-5 if precision == "fp32" else 2e-2
            assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_splitting_the_queries_changes_no_bit_in_fp16(
    portables: dict[tuple[str, Precision], Graph], precision: Precision
) -> None:
    portable = portables["logits at the network's size", precision]
    made = passes.run(portable.copy(), (passes.SplitQueries(),))
    assert len(made.rewrites[-1].rewritten) == 1, "the small checkpoint's first stage has one block"
    np.testing.assert_array_equal(run(made)["logits"], run(portable)["logits"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_class_map_behind_the_engine(portables: dict[tuple[str, Precision], Graph], precision: Precision) -> None:
    portable = portables["mask", precision]
    derived = derive_for_tensorrt(portable)
    assert derived.graph is not None
    assert counts(derived)["class-map-on-device"] == 1
    (output,) = derived.graph.model.graph.outputs
    assert output.name == "logits"
    assert output.dtype == (ir.DataType.FLOAT if precision == "fp32" else ir.DataType.FLOAT16)
    assert list(output.shape) == [1, len(portable.labels), SIZE[0] // 4, SIZE[1] // 4]
    assert mixed(ir.to_proto(derived.graph.model)) == []


def test_what_each_precision_gets(portables: dict[tuple[str, Precision], Graph]) -> None:
    """FP32 attention is never fused, and INT8 weights are not merged."""
    found = {precision: counts(derive_for_tensorrt(portables["mask", precision], "graph")) for precision in PRECISIONS}
    assert found["fp32"] == {"merge-values": 1, "sum-upsampled": 1, "fuse-class-map": 1}
    assert found["fp16"] == {"merge-values": 1, "split-queries": 1, "sum-upsampled": 1, "fuse-class-map": 1}
    assert found["int8"] == {"merge-values": 0, "split-queries": 1, "sum-upsampled": 1, "fuse-class-map": 1}
    int8 = derive_for_tensorrt(portables["mask", "int8"]).int8
    assert "segformer.stages.0.blocks.0.attention.q_proj" in int8
    assert not [name for name in int8 if "dwconv" in name]
    assert derive_for_tensorrt(portables["mask", "fp16"]).int8 == ()


def test_scores_in_fp16_on_request(portables: dict[tuple[str, Precision], Graph]) -> None:
    derived = derive_for_tensorrt(portables["mask", "fp16"], "graph", "fp16")
    assert derived.graph is not None
    assert counts(derived)["half-scores"] == 4
    softmaxes = [node for node in derived.graph.model.graph if node.op_type == "Softmax"]
    assert {node.outputs[0].dtype for node in softmaxes} == {ir.DataType.FLOAT16}
    assert mixed(ir.to_proto(derived.graph.model)) == []
    assert "half-scores" not in counts(derive_for_tensorrt(portables["mask", "fp32"], "graph", "fp16"))


def test_an_engine_for_several_sizes_keeps_what_has_no_size(portables: dict[tuple[str, Precision], Graph]) -> None:
    derived = derive_for_tensorrt(portables["mask", "fp16"], "graph", fixed_size=False)
    assert counts(derived) == {"merge-values": 1, "split-queries": 1}
    assert derived.graph is not None
    found = [node.op_type for node in derived.graph.model.graph]
    assert (found.count("Resize"), found.count("Gather")) == (4, 0)
    on_device = derive_for_tensorrt(portables["mask", "fp16"], "device", fixed_size=False)
    assert counts(on_device) == {"merge-values": 1, "split-queries": 1, "class-map-on-device": 1}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_deriving_again_changes_nothing(portables: dict[tuple[str, Precision], Graph], precision: Precision) -> None:
    derived = derive_for_tensorrt(portables["mask", precision], "graph")
    assert derived.graph is not None
    again = derive_for_tensorrt(derived.graph, "graph")
    assert again.graph is None
    assert again.int8 == derived.int8


def test_without_rewrites_none_but_what_was_asked_for(checkpoint: Path) -> None:
    graph = segexport.export(checkpoint, size=SIZE, rewrites=False)
    assert derive_for_tensorrt(graph, "graph") == Derived(None)
    derived = derive_for_tensorrt(graph, "device")
    assert counts(derived) == {"class-map-on-device": 1}
