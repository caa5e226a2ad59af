"""Folding the decode head keeps the logits, for every published head, and declines what it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from segexport import checkpoint, contracts, exporter, passes
from segexport.checkpoint import Checkpoint
from segexport.graph.graph import Graph
from segexport.passes.fold_decode_head import FoldDecodeHead
from segexport.spec import DYNAMIC, Contract, Labels, Preprocessing, Source
from tests.support.checkpoints import spread

# Odd, and small: what is proven does not depend on the size.
SIZE = (70, 101)


def logits_of(graph: Graph, images: np.ndarray, path: Path) -> np.ndarray:
    graph.save(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images})[0]


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("alias", "batch"),
    [
        ("b0", 1),
        pytest.param("b0", DYNAMIC, marks=pytest.mark.slow),
        pytest.param("b1", 1, marks=pytest.mark.slow),
        pytest.param("b2", 1, marks=pytest.mark.slow),  # whose head is that of B3 to B5, shape for shape
    ],
)
def test_folded_logits_equal_plain_ones(
    alias: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = checkpoint.load(alias, random_init=True)
    tensors = spread(loaded.structure)
    monkeypatch.setattr(Checkpoint, "tensors", lambda self: tensors)
    contract = contracts.contract_for(loaded, size=SIZE, batch=batch, output="logits", mask_size="network")
    graph = exporter.export(loaded, contract)
    images = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    plain = logits_of(graph, images, tmp_path / "plain.onnx")
    nodes_before = sum(1 for _ in graph.model.graph)
    (result,) = passes.run(graph, (FoldDecodeHead(),)).rewrites
    assert len(result.rewritten) == 1
    assert result.declined == ()
    folded = logits_of(graph, images, tmp_path / "folded.onnx")
    assert np.abs(plain).max() > 0.1, "logits too small for the comparison to mean anything"
    assert np.abs(folded - plain).max() < 1e-4
    assert sum(1 for _ in graph.model.graph) < nodes_before
    assert not any(node.op_type == "Concat" and node.name.startswith("decode_head/") for node in graph.model.graph)
    onnx.checker.check_model(tmp_path / "folded.onnx", full_check=True)


def head(
    *,
    width: int = 4,
    mode: str = "linear",
    extra_reader: bool = False,
    kernel: int = 1,
    batch_norm: bool = True,
    seed: int = 0,
) -> Graph:
    """A decode head of two stages by hand: 8x8 features of 3 channels and 4x4 features of 5."""
    rng = np.random.default_rng(seed)

    pads = f"pads=[{kernel // 2},{kernel // 2},{kernel // 2},{kernel // 2}], kernel_shape=[{kernel},{kernel}]"
    values = {
        "w0": rng.normal(size=(3, width)),
        "b0": rng.normal(size=width),
        "w1": rng.normal(size=(5, width)),
        "b1": rng.normal(size=width),
        "fuse": rng.normal(size=(6, 2 * width, kernel, kernel)),
        "fuse_bias": rng.normal(size=6),
        "gamma": rng.uniform(0.5, 2, 6),
        "beta": rng.normal(size=6),
        "mean": rng.normal(size=6),
        "var": rng.uniform(0.1, 2, 6),
    }
    norm = "BatchNormalization (fused, gamma, beta, mean, var)" if batch_norm else "Identity (fused)"
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    head (float[1,3,8,8] x0, float[1,5,4,4] x1) => (float[1,6,8,8] out {", float[1,4,64] leak" if extra_reader else ""})
    <int64[3] tokens0 = {{1,3,64}}, int64[3] tokens1 = {{1,5,16}},
     int64[4] plane0 = {{1,{width},8,8}}, int64[4] plane1 = {{1,{width},4,4}}>
    {{
        f0 = Reshape (x0, tokens0)
        t0 = Transpose <perm=[0,2,1]> (f0)
        m0 = MatMul (t0, w0)
        a0 = Add (m0, b0)
        c0 = Transpose <perm=[0,2,1]> (a0)
        p0 = Reshape (c0, plane0)
        f1 = Reshape (x1, tokens1)
        t1 = Transpose <perm=[0,2,1]> (f1)
        m1 = MatMul (t1, w1)
        a1 = Add (m1, b1)
        c1 = Transpose <perm=[0,2,1]> (a1)
        p1 = Reshape (c1, plane1)
        r1 = Resize <mode="{mode}", coordinate_transformation_mode="half_pixel"> (p1, , , target)
        cat = Concat <axis=1> (r1, p0)
        fused = Conv <{pads}> (cat, fuse, fuse_bias)
        normed = {norm}
        out = Relu (normed)
        {"leak = Identity (c0)" if extra_reader else ""}
    }}"""
    declared = ", ".join(
        f"float[{','.join(map(str, v.shape))}] {k} = {{{','.join(repr(float(np.float32(x))) for x in v.ravel())}}}"
        for k, v in values.items()
    )
    text = text.replace("<int64[3] tokens0", f"<int64[4] target = {{1,{width},8,8}}, {declared}, int64[3] tokens0")
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    contract = Contract((32, 32), output="logits")
    labels = Labels(("a",), ((0, 0, 0),))
    return Graph(ir.from_proto(proto), contract, Preprocessing(), labels, Source("test", None, ""))


def outputs_of(graph: Graph) -> np.ndarray:
    rng = np.random.default_rng(1)
    inputs = {"x0": rng.normal(size=(1, 3, 8, 8)), "x1": rng.normal(size=(1, 5, 4, 4))}
    session = ort.InferenceSession(ir.to_proto(graph.model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["out"], {k: v.astype(np.float32) for k, v in inputs.items()})[0]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_head_by_hand(batch_norm: bool) -> None:
    """BatchNorm behind the fusing convolution is folded too, where the exporter has left one."""
    graph = head(batch_norm=batch_norm)
    before = outputs_of(graph)
    passes.run(graph)
    assert len(graph.rewrites[0].rewritten) == 1
    ops = [node.op_type for node in graph.model.graph]
    assert ops.count("Conv") == 2
    assert "BatchNormalization" not in ops
    assert "MatMul" not in ops
    np.testing.assert_allclose(outputs_of(graph), before, atol=2e-5)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"mode": "nearest"}, "not bilinear"),
        ({"kernel": 3}, "not 1x1"),
        ({"extra_reader": True}, "other readers"),
    ],
)
def test_it_declines_with_a_reason(what: dict[str, object], reason: str) -> None:
    graph = head(**what)
    before = outputs_of(graph)
    result = FoldDecodeHead()(graph)
    assert result.rewritten == ()
    assert len(result.declined) == 1
    assert reason in result.declined[0].reason
    np.testing.assert_array_equal(outputs_of(graph), before)


def test_running_twice_changes_nothing_more() -> None:
    graph = head()
    passes.run(graph)
    count = len(list(graph.model.graph))
    again = FoldDecodeHead()(graph)
    assert (again.rewritten, again.declined) == ((), ())
    assert len(list(graph.model.graph)) == count
