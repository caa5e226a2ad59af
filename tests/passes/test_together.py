"""All rewrites of a B0 together, in every order that makes sense, for both spellings of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from segexport import checkpoint, contracts, exporter, passes
from segexport.checkpoint import Checkpoint
from segexport.graph.build import Writer
from segexport.graph.graph import open_graph
from segexport.passes import CANDIDATES, FOR_ENGINE, PIPELINE
from segexport.passes.base import Pass
from segexport.passes.fold_layer_norm import FoldLayerNorm
from segexport.passes.pointwise_mlp import PointwiseMlp
from segexport.passes.scale_queries import ScaleQueries
from segexport.spec import DYNAMIC
from tests.support.checkpoints import spread

pytestmark = pytest.mark.bundle

SIZE = (70, 101)
IMAGES = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
ENGINES = tuple(FOR_ENGINE)


def together(*passes_of: Sequence[Pass]) -> tuple[Pass, ...]:
    """All of them in this order, each pass once."""
    return tuple({rewrite.name: rewrite for part in passes_of for rewrite in part}.values())


OTHERS = together(CANDIDATES, (ScaleQueries(), FoldLayerNorm(), PointwiseMlp()))
"""What may be in no pipeline: that depends on what was measured."""

ORDERS: dict[str, tuple[Pass, ...]] = {
    name: order
    for engine, own in FOR_ENGINE.items()
    for name, order in {
        f"{engine}": together(PIPELINE, own),
        f"{engine}, others between": together(PIPELINE, OTHERS, own),
        f"{engine}, others reversed": together(PIPELINE, OTHERS[::-1], own),
        f"{engine}, others first": together(OTHERS, PIPELINE, own),
        f"{engine}, others last": together(PIPELINE, own, OTHERS),
        f"{engine}, all reversed": together(PIPELINE, OTHERS, own)[::-1],
    }.items()
}


@pytest.fixture(scope="module", params=[1, pytest.param(DYNAMIC, marks=pytest.mark.slow)], ids=["1", "dynamic"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain graph of a B0 whose weights, norms included, are spread as if trained."""
    loaded = checkpoint.load("b0", random_init=True)
    tensors = spread(loaded.structure)
    contract = contracts.contract_for(loaded, size=SIZE, batch=request.param, output="logits", mask_size="network")
    path = tmp_path_factory.mktemp("together") / "plain.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "tensors", lambda self: tensors)
        exporter.export(loaded, contract).save(path)
    return path


def logits_of(path: Path) -> np.ndarray:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["logits"], {"image": IMAGES})[0]


def divide_scores(model: ir.Model) -> int:
    """Write the scaling of the scores as transformers 4.57 does: Div by √d, not Mul by 1/√d."""
    count = 0
    for softmax in [node for node in model.graph if node.op_type == "Softmax"]:
        scaling = softmax.inputs[0].producer()
        tensor = ir.convenience.get_const_tensor(scaling.inputs[1])
        assert scaling.op_type == "Mul"
        writer = Writer(model.graph, "spelling", before=scaling)
        root = writer.constant(1 / tensor.numpy().astype(np.float64), "root", np.float32)
        scaling.outputs[0].replace_all_uses_with(writer.op("Div", [scaling.inputs[0], root]))
        model.graph.remove(scaling, safe=True)
        count += 1
    return count


def rewritten(plain: Path, order: Sequence[Pass], path: Path, *, divide: bool = False) -> dict[str, int]:
    """How often each pass rewrote something; the graph is checked, and saved at `path`."""
    graph = open_graph(plain)
    if divide:
        assert divide_scores(graph.model) == 8
    passes.run(graph, order)
    graph.save(path)
    if not any(node.domain or node.op_type == "SimplifiedLayerNormalization" for node in graph.model.graph):
        onnx.checker.check_model(path, full_check=True)
    return {result.name: len(result.rewritten) for result in graph.rewrites}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_the_logits_stay(plain: Path, order: tuple[Pass, ...], tmp_path: Path) -> None:
    """Logits here reach several units: 1e-4 is what float32 makes of so many layers in another order of sums."""
    before = logits_of(plain)
    assert np.abs(before).max() > 1, "logits too small for the comparison to mean anything"
    rewritten(plain, order, tmp_path / "rewritten.onnx")
    assert np.abs(logits_of(tmp_path / "rewritten.onnx") - before).max() < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_the_spelling_of_4_57(plain: Path, engine: str, tmp_path: Path) -> None:
    order = together(PIPELINE, OTHERS, FOR_ENGINE[engine])
    found = rewritten(plain, order, tmp_path / "rewritten.onnx", divide=True)
    assert found["scale-queries"] == 8
    assert np.abs(logits_of(tmp_path / "rewritten.onnx") - logits_of(plain)).max() < 1e-4


@pytest.mark.parametrize("divide", [False, True], ids=["5", "4.57"])
def test_they_find_all_there_is(plain: Path, divide: bool, tmp_path: Path) -> None:
    """Of B0's 30 norms 7 are read by what cannot take them: the residual stream, and the padded patch embeddings."""
    order = (ScaleQueries(), FoldLayerNorm(), PointwiseMlp())
    found = rewritten(plain, order, tmp_path / "rewritten.onnx", divide=divide)
    assert found == {"scale-queries": 8, "fold-layer-norm": 23, "pointwise-mlp": 8}
    assert np.abs(logits_of(tmp_path / "rewritten.onnx") - logits_of(plain)).max() < 1e-4
