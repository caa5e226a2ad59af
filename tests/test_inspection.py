"""What `segexport inspect` finds: exact counts on graphs by hand, the paper's on SegFormer, and its errors."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from segexport import checkpoint as checkpoints
from segexport import contracts, exporter, passes
from segexport.bundle import PLAN, SUMS, Bundle
from segexport.errors import BundleCorrupt, DataError
from segexport.files import sha256_of
from segexport.graph.graph import PREFIX, open_graph
from segexport.inspection import Inspection, inspect_file, inspect_path, multiply_accumulates, stage_of
from segexport.passes.fold_decode_head import FoldDecodeHead
from segexport.segformer import parameters
from segexport.spec import Declined, PassResult
from tests.support.cli import RunCli

OPSETS = '"" : 18, "com.microsoft" : 1'


def model_of(signature: str, body: str, constants: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A model in ONNX's text format, without any shapes but its inputs' and outputs'."""
    model = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{OPSETS}]> test {signature} {{ {body} }}")
    for name, array in (constants or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def weight(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def inspected(model: onnx.ModelProto, folder: Path) -> Inspection:
    onnx.save(model, folder / "hand.onnx")
    return inspect_file(folder / "hand.onnx")


@pytest.mark.parametrize(
    ("signature", "body", "constants", "expected"),
    [
        # Output [1, 6, 8, 6], each a sum over 2 of the 4 channels and 3x3 pixels.
        (
            "(float[1,4,8,6] x) => (float[n,c,h,w] y)",
            "y = Conv <group=2, pads=[1,1,1,1]> (x, w)",
            {"w": weight(6, 2, 3, 3)},
            6 * 8 * 6 * 2 * 9,
        ),
        # Depthwise and strided: output [1, 4, 4, 3].
        (
            "(float[1,4,8,6] x) => (float[n,c,h,w] y)",
            "y = Conv <group=4, strides=[2,2], pads=[1,1,1,1]> (x, w, b)",
            {"w": weight(4, 1, 3, 3), "b": weight(4)},
            4 * 4 * 3 * 9,
        ),
        ("(float[5,2,7,3] x) => (float[a,b,c,d] y)", "y = MatMul (x, w)", {"w": weight(3, 4)}, 5 * 2 * 7 * 4 * 3),
        ("(float[5,1,7,3] x, float[2,3,4] z) => (float[a,b,c,d] y)", "y = MatMul (x, z)", {}, 5 * 2 * 7 * 4 * 3),
        ("(float[3] x, float[3] z) => (float y)", "y = MatMul (x, z)", {}, 3),
        ("(float[7,3] x) => (float[a,b] y)", "y = Gemm (x, w, c)", {"w": weight(3, 4), "c": weight(4)}, 7 * 4 * 3),
        ("(float[3,7] x) => (float[a,b] y)", "y = Gemm <transA=1> (x, w)", {"w": weight(3, 4)}, 7 * 4 * 3),
        ("(float[7,3] x) => (float[a,b] y)", "y = Gemm <transB=1> (x, w)", {"w": weight(4, 3)}, 7 * 4 * 3),
        # An open batch counts as 1, through a reshape too; a fixed one as it is.
        (
            "(float[batch,2,7,3] x) => (float[a,b,c] y)",
            "s = Constant <value_ints=[-1,14,3]> () r = Reshape (x, s) y = MatMul (r, w)",
            {"w": weight(3, 4)},
            14 * 4 * 3,
        ),
        ("(float[3,7,3] x) => (float[a,b,c] y)", "y = MatMul (x, w)", {"w": weight(3, 4)}, 3 * 7 * 4 * 3),
        # The size comes from an initializer, which inference must be given.
        (
            "(float[1,2,4,4] x) => (float[a,b,c,d] y)",
            "r = Resize (x, , , size) y = Conv (r, w)",
            {"size": np.array([1, 2, 8, 8]), "w": weight(5, 2, 1, 1)},
            8 * 8 * 5 * 2,
        ),
        # ONNX Runtime's attention: 6 queries with 5 keys of 8 numbers, and 5 scores with values of 4.
        (
            "(float[2,6,8] q, float[2,5,8] k, float[2,5,4] v) => (float[2,6,4] y)",
            "y = com.microsoft.MultiHeadAttention <num_heads=2> (q, k, v)",
            {},
            2 * 6 * 5 * 8 + 2 * 6 * 5 * 4,
        ),
        # No sums of products.
        ("(float[2,8] x) => (float[2,8] y)", "y = com.microsoft.Gelu (x)", {}, 0),
        ("(float[1,8] x) => (float[a,b] y)", "s = Softmax (x) e = Erf (s) y = Mul (e, w)", {"w": weight(1, 8)}, 0),
    ],
)
def test_counts_by_hand(
    signature: str, body: str, constants: dict[str, np.ndarray], expected: int, tmp_path: Path
) -> None:
    found = inspected(model_of(signature, body, constants), tmp_path)
    assert found.uncounted == ()
    assert found.multiply_accumulates == expected
    assert multiply_accumulates(tmp_path / "hand.onnx") == expected
    assert found.open_batch == ("batch" in signature)


@pytest.mark.parametrize(
    ("signature", "body", "operator", "reason"),
    [
        (
            "(float[4,8] x) => (float[a,b] y)",
            "i = NonZero (x) t = Transpose (i) f = Cast <to=1> (t) y = MatMul (f, w2)",
            "MatMul",
            "a shape has dimensions without a number",
        ),
        (
            "(float[batch,2,height,width] x) => (float[a,b,c,d] y)",
            "y = Conv (x, w)",
            "Conv",
            "a shape has dimensions without a number: ",
        ),
        ("(float x) => (float y)", "s = com.microsoft.Unheard (x) y = MatMul (s, s)", "MatMul", "a shape is unknown"),
        (
            "(float[4,2] x) => (float[4,4] y)",
            "y = com.microsoft.FusedMatMul (x, x)",
            "com.microsoft.FusedMatMul",
            "domain",
        ),
        (
            "(float[2,6,2,3,4] x) => (float[2,6,8] y)",
            "y = com.microsoft.MultiHeadAttention <num_heads=2> (x)",
            "com.microsoft.MultiHeadAttention",
            "packed",
        ),
        ("(float[4,2] x) => (float[4,4] y)", 'y = Einsum <equation="ij,kj->ik"> (x, x)', "Einsum", "not counted"),
    ],
)
def test_what_cannot_be_counted_is_named(signature: str, body: str, operator: str, reason: str, tmp_path: Path) -> None:
    """Beside a product that can be: it alone is in the sum."""
    body += " known = MatMul (w2, w2)"
    signature = signature.replace("=> (", "=> (float[2,2] known, ")
    model = model_of(signature, body, {"w": weight(3, 2, 1, 1), "w2": weight(2, 2)})
    found = inspected(model, tmp_path)
    assert found.multiply_accumulates == 8
    assert operator in [node.operator for node in found.uncounted]
    (node,) = [node for node in found.uncounted if node.operator == operator]
    assert reason in node.reason


def test_counting_changes_nothing_and_uses_the_shapes_there_are() -> None:
    """Behind an operator nobody can infer, the file's own shapes are what is known."""
    model = model_of(
        "(float[1,8] x) => (float[1,4] y)", "s = com.microsoft.Unheard (x) y = MatMul (s, w)", {"w": weight(3, 4)}
    )
    assert multiply_accumulates(ir.from_proto(model)) == 0
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, (1, 3)))
    loaded = ir.from_proto(model)
    before = ir.to_proto(loaded).SerializeToString()
    assert multiply_accumulates(loaded) == 12
    assert ir.to_proto(loaded).SerializeToString() == before


def test_weights_of_gigabytes_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Only shapes are read, also where they must be inferred."""
    model = model_of("(float[2,30000] x) => (float[a,b] y)", "m = MatMul (x, w) y = MatMul (m, w)")
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[30000, 30000])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.initializer.append(tensor)
    found = inspected(model, tmp_path)
    assert found.multiply_accumulates == 2 * 2 * 30000**2
    assert (found.parameters, found.parameter_bytes) == (30000**2, 4 * 30000**2)


def test_parameters_are_the_weights_and_each_once(tmp_path: Path) -> None:
    constants = {
        "w": weight(3, 3),  # read twice
        "b": weight(3).astype(np.float16),
        "q": np.ones((3, 5), np.int8),
        "scale": weight(5),
        "zero": np.zeros(5, np.int8),
        "two": np.float32(2),
        "scales": weight(2),
        "shape": np.array([-1, 3]),
        "mean": weight(1, 3),
        "unread": weight(100),
    }
    model = model_of(
        "(float[4,3] x) => (float[a,b] y)",
        """
        centred = Sub (x, mean)
        r = Reshape (centred, shape)
        m = MatMul (r, w)
        n = MatMul (m, w)
        b32 = Cast <to=1> (b)
        o = Add (n, b32)
        d = Mul (o, two)
        z = Resize (d, , scales)
        q32 = DequantizeLinear <axis=1> (q, scale, zero)
        y = MatMul (z, q32)
        """,
        constants,
    )
    model.graph.node[0].name = "preprocess/Sub"
    found = inspected(model, tmp_path)
    assert found.parameters == 9 + 3 + 15
    assert found.parameter_bytes == 9 * 4 + 3 * 2 + 15
    assert found.operators["MatMul"] == 3


@pytest.mark.parametrize(
    ("node", "stage"),
    [
        ("segformer.stages.0.patch_embeddings.proj/Conv:conv2d", "stage 1"),  # transformers 5
        ("segformer.stages.3.blocks.10.attention.q_proj/MatMul:val_10", "stage 4"),
        ("segformer.stages.2.layer_norm/LayerNormalization:layer_norm_9", "stage 3"),
        ("segformer.encoder.patch_embeddings.1.proj/Conv:conv2d", "stage 2"),  # transformers 4.57
        ("segformer.encoder.block.2.13.attention.self.query/MatMul:val_3", "stage 3"),
        ("segformer.encoder.layer_norm.3/LayerNormalization:layer_norm", "stage 4"),
        ("/segformer/encoder/block.0/block.0.1/attention/self/query/MatMul", "stage 1"),  # torch's older exporter
        ("/decode_head/linear_c.2/proj/MatMul", "decode head"),
        ("segformer.stages.1.blocks.0.mlp.folded/Conv_3", "stage 2"),
        ("decode_head/Concat:cat", "decode head"),
        ("decode_head.folded/Conv_0", "decode head"),
        ("classifier/MatMul:val_9", "classifier"),
        ("preprocess/Cast_0", "preprocess"),
        ("postprocess/ArgMax_2", "postprocess"),
        ("segformer.encoder/Reshape:view_17", "other"),
        ("segformer.stages.4.blocks.0/Add", "other"),
        ("backbone.upstages.0.conv/Conv", "other"),
        ("node_mean", "other"),
        ("stage_1/Conv", "other"),
        ("", "other"),
    ],
)
def test_stages_come_from_names(node: str, stage: str) -> None:
    assert stage_of(node) == stage


# GMAC at 512x512 with 150 labels. Plain: the paper's table 1 (B2 62.4, B4 95.7 there; B5 is given for 640x640 only).
FIGURES = {
    "b0": (8.4, 4.1),
    "b1": (15.9, 11.6),
    "b2": (62.3, 23.7),
    "b3": (79.0, 40.3),
    "b4": (95.6, 56.9),
    "b5": (111.5, 72.9),
}


@pytest.mark.parametrize("alias", ["b0", *(pytest.param(f"b{i}", marks=pytest.mark.slow) for i in range(1, 6))])
def test_the_figures_of_every_width_and_depth(alias: str, tmp_path: Path) -> None:
    loaded = checkpoints.load(alias, random_init=True)
    graph = exporter.export(loaded, contracts.contract_for(loaded, size=(512, 512)))
    graph.save(tmp_path / "plain.onnx")
    passes.run(graph, (FoldDecodeHead(),))
    graph.save(tmp_path / "folded.onnx")
    plain, folded = (inspect_file(tmp_path / f"{name}.onnx") for name in ("plain", "folded"))

    found = tuple(round(one.multiply_accumulates / 1e9, 1) for one in (plain, folded))
    assert found == FIGURES[alias]
    assert multiply_accumulates(graph.model) == folded.multiply_accumulates
    names = [f"stage {i}" for i in range(1, 5)]
    assert [s.name for s in plain.stages] == ["preprocess", *names, "decode head", "postprocess"]
    assert all(s.multiply_accumulates > 0 for s in plain.stages if s.name in (*names, "decode head"))
    changed = [s.name for s, t in zip(plain.stages, folded.stages, strict=True) if s != t]
    assert changed == ["decode head"]
    assert plain.uncounted == folded.uncounted == ()

    # BatchNorm's weight, bias and statistics become the bias of the fusing convolution, which had none.
    assert plain.parameters == sum(map(math.prod, parameters(loaded.structure).values())) - 3 * loaded.structure.decoder
    assert plain.parameter_bytes == 4 * plain.parameters
    assert folded.parameters < plain.parameters


@pytest.mark.bundle
def test_a_bundle_on_the_terminal_and_as_json(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    shown = run_cli("inspect", bundle.folder, "--json", tmp_path / "out.json")
    assert shown.code == 0, shown.err
    for says in (
        str(bundle.model),
        "image uint8 [1, 64, 96, 3] RGB -> mask at 64x96",
        "fold-decode-head (algebraic): decode_head/Concat",
        "GMACs per image",
        "MatMul ",
    ):
        assert says in shown.out
    assert "\x1b" not in shown.out
    first = shown.out.split("\nfile ")[0]  # an engine's own graph may follow
    rows = {line.split("  ")[1]: line.split()[-3:] for line in first.splitlines() if line.startswith("  ")}
    found, *_ = json.loads((tmp_path / "out.json").read_text())["graphs"]
    total = found["multiply_accumulates"]
    assert total == multiply_accumulates(bundle.model) > 0
    assert rows["total"] == [str(sum(found["operators"].values())), f"{total / 1e9:.4f}", "100.0"]
    for stage in found["stages"]:
        share = stage["multiply_accumulates"] / total * 100
        assert rows[stage["name"]][0] == str(stage["nodes"])
        assert float(rows[stage["name"]][2]) == pytest.approx(share, abs=0.051)
    assert found["facts"]["contract"]["size"] == [64, 96]
    assert "fold-decode-head" in [record["name"] for record in found["facts"]["rewrites"]]
    assert found["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [1, 64, 96, 3]}]
    assert f"parameters {found['parameters']:,} in" in shown.out


@pytest.mark.bundle
def test_every_graph_at_the_top_of_a_bundle(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    graph = open_graph(bundle.model)
    place = Declined("segformer.stages.0/Add:add", "the [mask] is no constant")
    graph.rewrites = (PassResult("another-pass", "bit-exact", (), (place,)),)
    graph.save(folder / "a-second.onnx")
    shutil.copy(bundle.model, folder / "golden" / "below.onnx")
    found = run_cli("inspect", folder)
    assert found.code == 0, found.err
    files = [line.split()[1] for line in found.out.splitlines() if line.startswith("file ")]
    assert files[:2] == [str(folder / "model.onnx"), str(folder / "a-second.onnx")]
    assert {Path(file).name for file in files} == {path.name for path in folder.glob("*.onnx")}
    assert "another-pass (bit-exact): nothing to rewrite" in found.out
    assert "declined segformer.stages.0/Add:add: the [mask] is no constant" in found.out


@pytest.mark.bundle
def test_many_rewrites_are_counted_on_the_terminal_and_listed_in_json(
    bundle: Bundle, tmp_path: Path, run_cli: RunCli
) -> None:
    graph = open_graph(bundle.model)
    places = tuple(f"place {i}" for i in range(28))
    graph.rewrites = (PassResult("busy-pass", "bit-exact", places, ()),)
    graph.save(tmp_path / "busy.onnx")
    found = run_cli("inspect", tmp_path / "busy.onnx", "--json", tmp_path / "out.json")
    assert "busy-pass (bit-exact): place 0, place 1 and 26 more" in found.out
    (content,) = json.loads((tmp_path / "out.json").read_text())["graphs"]
    assert content["facts"]["rewrites"][0]["rewritten"] == list(places)


@pytest.mark.bundle
@pytest.mark.parametrize("engine", sorted(passes.FOR_ENGINE))
def test_an_engines_own_graph_multiplies_as_much(engine: str, bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    """Its fused operators count as what they replaced, and its own outputs are shown."""
    merge_values = passes.MergeValues.name  # the one that leaves multiplications out
    others = [rewrite for rewrite in passes.FOR_ENGINE[engine] if rewrite.name != merge_values]
    graph = passes.run(open_graph(bundle.model), others)
    graph.save(tmp_path / "engine.onnx")
    found, portable = inspect_file(tmp_path / "engine.onnx"), inspect_file(bundle.model)
    assert found.operators != portable.operators
    assert (found.multiply_accumulates, found.uncounted) == (portable.multiply_accumulates, ())
    shown = run_cli("inspect", tmp_path / "engine.onnx").out
    assert ("output     logits float [" in shown) == (found.outputs[0].name == "logits")


@pytest.mark.bundle
def test_a_bundle_with_a_plan_of_classic_tensorrt(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    """Its graphs are shown, and of the plan what can be told."""
    assert run_cli("inspect", bundle.folder, "--as", "plan").err.startswith(f"error: {bundle.folder} has no {PLAN}: ")
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    (folder / PLAN).write_bytes(b"ftrt" + bytes(20) + bytes((10, 3, 0, 26)) + bytes(200))
    with (folder / SUMS).open("a") as sums:
        sums.write(f"{sha256_of(folder / PLAN)}  {PLAN}\n")
    found = run_cli("inspect", folder, "--json", tmp_path / "out.json")
    assert found.code == 0, found.err
    assert f"file       {folder / PLAN} (0.0 MB, TensorRT 10.3.0.26)" in found.out
    assert "note       program: only EngineInspector can read it" in found.out
    content = json.loads((tmp_path / "out.json").read_text())
    assert [one["version"] for one in content["plans"]] == ["10.3.0.26"]
    assert content["graphs"][0]["file"] == str(folder / "model.onnx")
    only_graphs = run_cli("inspect", folder, "--as", "onnx").out
    assert PLAN not in only_graphs
    assert "GMACs" in only_graphs
    assert "GMACs" not in run_cli("inspect", folder, "--as", "plan").out


def test_a_file_of_another_program(tmp_path: Path, run_cli: RunCli) -> None:
    model = model_of(
        "(float[batch,3,4,4] x, float[a,b] z) => (float[c,d] y, float[e,f,g,h] c1)",
        "c1 = Conv (x, w) y = MatMul (z, z)",
        {"w": weight(2, 3, 1, 1)},
    )
    model.producer_name, model.producer_version = "pytorch", "2.4"
    onnx.save(model, tmp_path / "other.onnx")
    found = run_cli("inspect", tmp_path / "other.onnx")
    assert found.code == 0, found.err
    for says in (
        "opset 18, by pytorch 2.4",
        "input      x float [batch, 3, 4, 4]",
        "output     y float [c, d]",
        "contract   none: not written by segexport",
        "GMACs per image (the batch is open)",
        "uncounted  MatMul (no name): a shape has dimensions without a number",
        "total (without the uncounted)",
    ):
        assert says in found.out
    (row,) = (line.split() for line in found.out.splitlines() if line.startswith("  other"))
    assert row == ["other", "2", "0.0000", "100.0"]


@pytest.mark.bundle
def test_it_needs_neither_torch_nor_an_engine(bundle: Bundle) -> None:
    script = """
import sys
for name in ("torch", "transformers", "onnxruntime", "openvino", "onnxscript"):
    sys.modules[name] = None
from segexport import cli
cli.main()
"""
    command = [sys.executable, "-c", script, "inspect", str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "decode head" in done.stdout


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, this is text",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        b"PK\x03\x04" + bytes(100),
        bytes(100),
        b"\x08\x0a",
    ],
    ids=["empty", "text", "png", "zip", "zeros", "no graph"],
)
def test_what_is_not_onnx(content: bytes, tmp_path: Path, run_cli: RunCli) -> None:
    path = tmp_path / "thing.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError):
        multiply_accumulates(path)
    found = run_cli("inspect", path)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"error: {path} is not ONNX")
    assert found.err.endswith("pass an .onnx file, or a bundle made by segexport build\n")


def test_what_is_not_there(tmp_path: Path, run_cli: RunCli) -> None:
    missing = run_cli("inspect", tmp_path / "nowhere.onnx")
    assert (missing.code, missing.out) == (2, "")
    assert missing.err.startswith(f"error: {tmp_path / 'nowhere.onnx'} does not exist")
    stray = tmp_path / "stray"
    for folder in (tmp_path, stray):  # an empty one, and one with a graph but no manifest
        found = run_cli("inspect", folder)
        assert (found.code, found.out) == (2, "")
        assert found.err.startswith(f"error: {folder} is not a bundle")
        stray.mkdir(exist_ok=True)
        onnx.save(model_of("(float[1] x) => (float[1] y)", "y = Neg (x)"), stray / "model.onnx")


def _cut(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def _damage_facts(folder: Path) -> None:
    model = ir.load(folder / "model.onnx")
    model.metadata_props[PREFIX + "contract"] = '{"size": "large"}'
    ir.save(model, folder / "model.onnx")
    sums = folder / SUMS
    lines = [line for line in sums.read_text().splitlines() if not line.endswith("  model.onnx")]
    sums.write_text("\n".join([*lines, f"{sha256_of(folder / 'model.onnx')}  model.onnx"]) + "\n")


@pytest.mark.bundle
@pytest.mark.parametrize(("change", "reason"), [(_cut, "is not the file that was built"), (_damage_facts, "build it")])
def test_a_damaged_bundle(bundle: Bundle, tmp_path: Path, change: Callable[[Path], None], reason: str) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    change(folder)
    with pytest.raises(BundleCorrupt, match=reason) as caught:
        inspect_path(folder)
    assert str(folder / "model.onnx") in str(caught.value)
    with pytest.raises((DataError, BundleCorrupt)):
        inspect_file(folder / "model.onnx")
