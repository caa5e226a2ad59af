"""Reading plans that the real TensorRT for RTX wrote: what is known of their graphs must be found in them."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from segexport.bundle import PLAN, SUMS, Bundle
from segexport.errors import DataError
from segexport.files import sha256_of
from segexport.spec import to_json
from segexport.tensorrt import plan_text
from segexport.tensorrt.plan import read_plan
from segexport.tensorrt.plan_file import read_parts
from segexport.tensorrt.plan_report import PlanReport, Program, Shapes
from tests.support.cli import RunCli
from tests.tensorrt import attention_graphs as graphs

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")

BUILD = Path(__file__).with_name("build_plans.py")
ATTENTION = f"{graphs.BLOCK}.attention"
DEFAULT_TARGETS = ("sm80", "sm86", "sm89", "sm120", "sm121")


@dataclass(frozen=True)
class Request:
    onnx: str
    plan: str
    profiles: tuple = ()
    targets: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of plans, all built in one process, which takes seconds."""
    folder = tmp_path_factory.mktemp("plans")
    requests = []

    def plan(name: str, onnx: Path, profiles=(), targets=()) -> None:
        requests.append(Request(str(onnx), str(folder / f"{name}.plan"), profiles, targets))

    def three(rows: tuple[int, int, int], *sides: int) -> list[tuple[int, ...]]:
        return [(n, *sides) for n in rows]

    plan("fp32", graphs.block(folder / "fp32.onnx", "fp32"))
    plan("fp16", graphs.block(folder / "fp16.onnx"))
    plan("fp16 softmax in fp32", graphs.block(folder / "softmax.onnx", softmax_in_fp32=True))
    plan("fp16 one head", graphs.block(folder / "one.onnx", heads=1))
    plan("fp16 output in fp32", graphs.block(folder / "kept.onnx", output="fp32"))
    plan("fp16 product between casts", graphs.block(folder / "casts.onnx", output="between casts"))
    plan("int8", graphs.block(folder / "int8.onnx", int8=True))
    plan("targets", folder / "fp16.onnx", targets=("sm86", "sm89"))
    plan("turing", folder / "fp16.onnx", targets=("sm75",))
    batches = {"tokens": three((1, 2, 4), graphs.TOKENS, graphs.WIDTH)}
    plan("open batch", graphs.block(folder / "open.onnx", batch="n"), profiles=(batches,))
    plan("product", graphs.product(folder / "product.onnx"))
    open_product = graphs.product(folder / "rows.onnx", "rows")
    plan("open product", open_product, profiles=({"x": three((1, 8, 128), 64)}, {"x": three((4, 4, 4), 64)}))
    first = {"image": [(1, 2, 8), (2, 4, 8), (4, 16, 8)], "state.2": three((1, 2, 4), 4)}
    second = {"image": [(8, 2, 8), (8, 4, 8), (8, 16, 8)], "state.2": three((8, 8, 8), 4)}
    plan("two inputs", graphs.two_inputs(folder / "two.onnx"), profiles=(first, second))
    done = subprocess.run(
        [sys.executable, str(BUILD)],
        input=json.dumps([vars(one) for one in requests]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def only_program(report: PlanReport) -> Program:
    (program,) = report.programs
    return program


def nodes_in_fp32(program: Program, how: str) -> set[str]:
    return {node for one in program.fp32 if one.how == how for node in one.nodes}


def test_what_the_file_says_of_itself(plans):
    report = read_plan(plans / "fp16.plan")
    import tensorrt_rtx  # the version that wrote it

    assert report.version == tensorrt_rtx.__version__
    assert report.size_bytes == (plans / "fp16.plan").stat().st_size
    assert [(one.name, one.dtype, one.shape) for one in report.inputs] == [("tokens", "fp32", (1, 256, 32))]
    assert [(one.name, one.dtype, one.shape) for one in report.outputs] == [("mask", "uint8", (1, 256))]
    assert (report.profiles, report.notes) == ((), ())
    assert json.loads(json.dumps(to_json(report)))["programs"][0]["kinds"] == report.programs[0].kinds


def test_bytes_by_hand(plans):
    """A product of [128, 64] and [64, 32] in fp16 with alpha and beta in fp32, then a softmax, which reads twice."""
    report = read_plan(plans / "product.plan")
    program = only_program(report)
    product, softmax = program.ops
    activations, weights, result = 128 * 64 * 2, 64 * 32 * 2, 128 * 32 * 2
    assert (product.kind, product.computes, product.product) == ("fully_connected", "fp16", "weights")
    assert product.nodes == ("classifier/MatMul",)
    assert (product.read_bytes, product.written_bytes) == (activations + weights + 8, result)
    assert softmax.nodes == ("postprocess/Softmax",)
    assert [tensor.name for tensor in softmax.inputs] == 2 * [product.outputs[0].name]
    assert (softmax.read_bytes, softmax.written_bytes) == (2 * result, result)
    assert program.traffic_bytes == activations + weights + 8 + 4 * result
    assert report.weights_bytes >= weights
    assert [tensor.constant for tensor in product.inputs] == [False, True, True, True]


def test_open_dimensions_count_at_the_profiles_largest(plans):
    fixed, report = (read_plan(plans / f"{name}.plan") for name in ("product", "open product"))
    assert report.profiles == (Shapes(0, "x", (1, 64), (8, 64), (128, 64)), Shapes(1, "x", (4, 64), (4, 64), (4, 64)))
    largest, fours = report.programs
    assert (largest.profile, fours.profile) == (0, 1)
    assert largest.traffic_bytes == only_program(fixed).traffic_bytes
    assert fours.traffic_bytes == 4 * 64 * 2 + 64 * 32 * 2 + 8 + 4 * (4 * 32 * 2)
    assert report.inputs[0].shape == (-1, 64)
    assert report.inputs[0].size_bytes is None


def test_open_dimensions_that_are_computed(plans):
    """Heads times batch is a dimension of the fused kernel: it follows from the profile's batch of 4."""
    fixed, opened = (only_program(read_plan(plans / f"{name}.plan")) for name in ("fp16", "open batch"))
    (one,), (four,) = ([op for op in program.ops if op.accumulates] for program in (fixed, opened))
    assert one.read_bytes == 3 * graphs.TOKENS * graphs.WIDTH * 2
    assert four.moved_bytes == 4 * one.moved_bytes
    assert opened.traffic_bytes is not None


def test_profiles_of_two_inputs(plans):
    report = read_plan(plans / "two inputs.plan")
    assert [one.name for one in report.inputs] == ["image", "state.2"]
    assert [one.name for one in report.outputs] == ["y", "z"]
    assert report.profiles == (
        Shapes(0, "image", (1, 2, 8), (2, 4, 8), (4, 16, 8)),
        Shapes(0, "state.2", (1, 4), (2, 4), (4, 4)),
        Shapes(1, "image", (8, 2, 8), (8, 4, 8), (8, 16, 8)),
        Shapes(1, "state.2", (8, 4), (8, 4), (8, 4)),
    )
    images, states = (4 * 16 * 8, 8 * 16 * 8), (4 * 4, 8 * 4)
    assert [program.traffic_bytes for program in report.programs] == [
        2 * 2 * (image + state) for image, state in zip(images, states, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "fused", "accumulates"),
    [
        ("fp32", 0, ()),
        ("fp16", 1, (("fp16", "fp16"),)),
        ("fp16 softmax in fp32", 1, (("fp32", "fp16"),)),
        ("fp16 one head", 0, ()),
        ("int8", 1, (("fp16", "fp16"),)),
        ("turing", 1, (("fp16", "fp16"),)),
    ],
)
def test_attention(name, fused, accumulates, plans):
    found = only_program(read_plan(plans / f"{name}.plan")).attention
    assert (found.fused, found.blocks, found.accumulates) == (fused, 1, accumulates)


def test_a_softmax_alone_is_no_attention(plans):
    assert only_program(read_plan(plans / "product.plan")).attention.blocks == 0


def test_products_by_type(plans):
    products = {name: only_program(read_plan(plans / f"{name}.plan")).products for name in ("fp32", "fp16", "int8")}
    assert set(products["fp32"]) == {"fp32"}
    assert set(products["fp16"]) == {"fp16"}
    assert products["int8"]["int8"] == 1
    (quantized,) = (op for op in only_program(read_plan(plans / "int8.plan")).ops if op.computes == "int8")
    assert "head/MatMul:logits" in quantized.nodes


def test_what_stayed_in_fp32(plans):
    program = only_program(read_plan(plans / "fp16 output in fp32.plan"))
    assert program.products["fp32"] == 1
    assert nodes_in_fp32(program, "product") == {
        f"{ATTENTION}.o_proj/MatMul:o_linear",
        f"{ATTENTION}.o_proj/Erf:o_bent",
    }
    assert {one.module for one in program.fp32 if one.how == "product"} == {f"{ATTENTION}.o_proj"}

    everywhere = only_program(read_plan(plans / "fp16.plan"))
    assert nodes_in_fp32(everywhere, "product") == set()
    # The input is FP32 and is cast and normalised in one kernel.
    assert nodes_in_fp32(everywhere, "tensors") == {f"{graphs.BLOCK}.layernorm_before/LayerNormalization:normed"}

    # Unfused, the softmax is a kernel of its own: FP16 in and out, FP32 inside.
    one_head = only_program(read_plan(plans / "fp16 one head.plan"))
    assert f"{ATTENTION}/Softmax:weights" in nodes_in_fp32(one_head, "inside")
    assert only_program(read_plan(plans / "fp32.plan")).fp32 == ()


def test_a_product_between_casts_is_done_in_fp16_all_the_same(plans):
    """TensorRT for RTX 1.7.1 takes Cast, MatMul in FP32, Cast for one of FP16, and halves its weights too."""
    program = only_program(read_plan(plans / "fp16 product between casts.plan"))
    assert set(program.products) == {"fp16"}
    (product,) = (op for op in program.ops if f"{ATTENTION}.o_proj/MatMul:o_linear" in op.nodes)
    assert {tensor.dtype for tensor in product.inputs if tensor.shape[-2:] == (32, 32)} == {"fp16"}


@pytest.mark.parametrize(
    ("name", "targets", "programs", "later"),
    [
        ("fp16", DEFAULT_TARGETS, ("sm80",), True),
        ("targets", ("sm86", "sm89"), ("sm86", "sm89"), False),
        ("turing", ("sm75",), ("sm75",), False),
    ],
)
def test_targets(name, targets, programs, later, plans):
    report = read_plan(plans / f"{name}.plan")
    assert (report.targets, report.later_targets) == (targets, later)
    assert only_program(report).targets == programs


def test_every_operation_says_where_it_comes_from(plans):
    for name in ("fp32", "fp16", "int8", "open batch"):
        for op in only_program(read_plan(plans / f"{name}.plan")).ops:
            assert op.nodes, (name, op)
            assert op.computes != "unknown", (name, op)
            assert op.moved_bytes, (name, op)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is no TensorRT plan (it begins with b'hell')"),
        (b"\x08\x0a\x12\x04" + bytes(200), "is no TensorRT plan"),
        (b"vtrt", "is cut off (4 bytes, not even a plan's header)"),
        (b"ftrt" + bytes(20) + bytes((10, 3, 0, 26)) + bytes(200), "is a plan of classic TensorRT (version 10.3.0.26)"),
        (b"ftrt", "is a plan of classic TensorRT (version unknown)"),
    ],
    ids=["empty", "text", "onnx", "magic only", "classic", "classic, magic only"],
)
def test_what_is_no_plan(content, says, tmp_path, run_cli: RunCli):
    path = tmp_path / "engine.plan"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_plan(path)
    assert str(raised.value).startswith(f"{path} {says}")
    found = run_cli("inspect", path)
    assert (found.code, found.out, found.err) == (2, "", f"error: {raised.value}\n")


@pytest.mark.parametrize("share", [0.0003, 0.01, 0.5, 0.9999])
def test_a_plan_cut_off(share, plans, tmp_path):
    whole = (plans / "fp16.plan").read_bytes()
    cut = tmp_path / "cut.plan"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(
        DataError, match=rf"is cut off \({int(len(whole) * share):,} bytes of {len(whole):,}\): copy it"
    ):
        read_plan(cut)


def test_a_plan_with_something_behind(plans, tmp_path):
    longer = tmp_path / "longer.plan"
    longer.write_bytes((plans / "product.plan").read_bytes() + b"more")
    report = read_plan(longer)
    assert report.notes == ("size: 4 bytes follow the plan's end",)
    assert report.programs == read_plan(plans / "product.plan").programs


def test_a_text_that_cannot_be_read(plans, tmp_path):
    """A plan of a TensorRT that writes its program otherwise: nothing is made up, and a note says so."""
    data = (plans / "fp16.plan").read_bytes()
    other = tmp_path / "other.plan"
    other.write_bytes(data.replace(b"NLYM", b"????"))
    report = read_plan(other)
    assert report.programs == ()
    assert any(note.startswith("program: none found") for note in report.notes)
    assert report.weights_bytes == read_plan(plans / "fp16.plan").weights_bytes

    other.write_bytes(data.replace(b" type=half }", b" sort=half }"))
    report = read_plan(other)
    assert any("lines could not be read" in note for note in report.notes)
    assert only_program(report).traffic_bytes is None
    assert only_program(report).attention.fused == 1


def test_damage_anywhere_is_a_report_or_an_error(plans, tmp_path):
    numbers = random.Random(0)
    whole = (plans / "open product.plan").read_bytes()
    engine = whole.index(b"header {")
    path = tmp_path / "damaged.plan"
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(numbers.choice((1, 20, 2000))):
            place = numbers.choice(
                (numbers.randrange(120), numbers.randrange(len(data)), engine + numbers.randrange(60000))
            )
            data[place % len(data)] = numbers.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            json.dumps(to_json(read_plan(path)), allow_nan=False)


def test_statements():
    text = plan_text.parse(
        'header {\n  tf32=1\n  region = { name=devmem size=128 type=user }\n  inputs={ "a b.1" }\n}\n'
        'descriptors {\n  tensor={ dims={ "n.1" 3 } name="{F[x]}_s" region="" type=half }\n}\n'
        'main {\n label bb1: \n  function={ name=f grid = { 1 2 } cond = { if = "c" do = { 1 } } binary = 4 '
        'layers="[ONNX Layer: a/B:c]\x1f[ONNX Layer: d]" }\n  wait={ name="w" }\n  not a statement\n}\n'
        'shape_main {\n  assert={ msg="over\ntwo lines\n" }\n}\n'
    )
    assert text.settings == {"tf32": "1"}
    assert text.regions == [{"name": "devmem", "size": "128", "type": "user"}]
    assert text.lists == {"inputs": ["a b.1"]}
    assert text.tensors["{F[x]}_s"].dims == ("n.1", 3)
    (function,) = text.main
    assert (function.text("binary"), function.names("grid")) == ("4", ["1", "2"])
    assert plan_text.layers_of(function.text("layers")) == ("a/B:c", "d")
    assert text.unread == 1


def test_on_the_terminal_and_as_json(plans, tmp_path, run_cli: RunCli):
    found = run_cli("inspect", plans / "fp16 output in fp32.plan", "--json", tmp_path / "out.json")
    assert found.code == 0, found.err
    for says in (
        "TensorRT for RTX 1.",
        "input      tokens fp32 [1, 256, 32]",
        "output     mask uint8 [1, 256]",
        "targets    sm80, sm86, sm89, sm120, sm121, and later GPUs",
        "products   fp16 3, fp32 1, TF32 allowed",
        "attention  1 of 1 blocks fused, summing queries x keys in fp16, scores x values in fp16",
        "fp32       nodes that multiply in FP32 2,",
        "what stayed in FP32",
        "most bytes read and written",
    ):
        assert says in found.out
    content = json.loads((tmp_path / "out.json").read_text())
    assert (content["graphs"], len(content["plans"])) == ([], 1)
    assert content["plans"][0] == json.loads(json.dumps(to_json(read_plan(plans / "fp16 output in fp32.plan"))))


def test_profiles_on_the_terminal(plans, run_cli: RunCli):
    found = run_cli("inspect", plans / "open product.plan").out
    assert "input      x fp16 [?, 64]" in found
    assert "profile 0  x least [1, 64], best [8, 64], most [128, 64]" in found
    assert found.count("operations by kind") == 2


def test_what_it_is_shows_in_its_bytes(plans, tmp_path, run_cli: RunCli):
    named = shutil.copy(plans / "product.plan", tmp_path / "named.onnx")
    assert "TensorRT for RTX" in run_cli("inspect", named).out
    forced = run_cli("inspect", named, "--as", "onnx")
    assert (forced.code, forced.out) == (2, "")
    assert forced.err.startswith(f"error: {named} is not ONNX")
    graph = plans / "product.onnx"
    assert "opset" in run_cli("inspect", graph).out
    assert run_cli("inspect", graph, "--as", "plan").err.startswith(f"error: {graph} is no TensorRT plan")


@pytest.mark.bundle
def test_the_plan_of_a_bundle(plans, bundle: Bundle, tmp_path, run_cli: RunCli):
    folder = shutil.copytree(bundle.folder, tmp_path / "copy")
    shutil.copy(plans / "product.plan", folder / PLAN)
    with (folder / SUMS).open("a") as sums:
        sums.write(f"{sha256_of(folder / PLAN)}  {PLAN}\n")
    found = run_cli("inspect", folder)
    assert found.code == 0, found.err
    assert found.out.index(f"file       {folder / 'model.onnx'}") < found.out.index(f"file       {folder / PLAN}")
    assert "products   fp16 1" in found.out
    assert str(folder / "model.onnx") not in run_cli("inspect", folder, "--as", "plan").out


def test_without_tensorrt(plans):
    """The plan is read with the standard library alone."""
    script = """
import sys
for name in ("tensorrt_rtx", "tensorrt", "torch", "onnx", "onnx_ir", "numpy"):
    sys.modules[name] = None
from segexport.tensorrt.plan import read_plan
print(read_plan(sys.argv[1]).programs[0].attention.fused)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(plans / "fp16.plan")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_parts(plans):
    """What sits inside a `runtime_fusion` is read with the program that it belongs to."""
    raw = read_parts(plans / "fp16.plan")
    (program,) = raw.programs
    assert sum(one.kind == "runtime_fusion" for one in plan_text.parse(program.text).main) == len(program.inner) == 1
    (inner,) = map(plan_text.parse, program.inner)
    assert [one.kind for one in inner.main] == ["fully_connected", "add"]
