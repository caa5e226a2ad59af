"""A graph opened from one size, against the same network written for others."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from segexport import passes
from segexport.calibration import calibrate_graph
from segexport.calibration.sources import GeneratedScenes
from segexport.checkpoint import load
from segexport.contracts import contract_for
from segexport.errors import ContractError
from segexport.exporter import export
from segexport.graph.graph import Graph
from segexport.graph.halves import parts_stay_equal
from segexport.graph.open_size import open_size
from segexport.graph.symbolic import Unknown, dim, product, split, strided
from segexport.passes.split_queries import SplitQueries
from segexport.precision.emulate import emulate_fp16
from segexport.precision.fp16 import to_fp16
from segexport.precision.int8 import FORMS, to_int8
from segexport.precision.placement import Placement, default_placement
from segexport.precision.ranges import Ranges
from segexport.spec import DYNAMIC, Contract, Grid
from segexport.tensorrt.compile import compile_plan
from segexport.tensorrt.flavour import RTX
from segexport.tensorrt.options import TensorRtOptions, parse_profile
from segexport.tensorrt.plan import read_plan
from tests.support.checkpoints import SIZE
from tests.support.contracts import pick
from tests.support.handmade import graph_of

# Multiples of 32 and of 4, odd sides, portraits, an odd number of cells (33 x 17), the smallest.
SIZES = [(64, 96), (96, 64), (128, 160), (132, 68), (250, 333), (101, 67), (33, 47), (32, 32)]
CHANNELS, CLASSES = 8, 5


def run(graph: Graph, image: np.ndarray) -> list[np.ndarray]:
    """Every output, as ONNX Runtime computes it without rewrites of its own."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = ir.to_proto(graph.model)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


def image_of(size: tuple[int, int], batch: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)


def constants_of(size: tuple[int, int], head: str) -> dict[str, np.ndarray]:
    """Weights, the same for every size, and shapes, which are the size's."""
    random = np.random.default_rng(1)
    (height, width), (rows, columns) = size, Grid().of(size)
    tokens, keys, c = rows * columns, (rows // 2) * (columns // 2), CHANNELS
    kernels = {"w0": (c, 3, 7, 7), "w1": (c, c, 2, 2), "w2": (c, c, 3, 3), "w3": (CLASSES, c, 1, 1), "wq": (c, c)}
    parts = next(part for part in range(2, tokens + 1) if tokens % part == 0)
    return {
        **{name: random.normal(size=shape) / math.sqrt(math.prod(shape[1:])) for name, shape in kernels.items()},
        "scale": np.array(1 / 255),
        "to_tokens": np.array([-1, c, tokens]),
        "to_planes": np.array([-1, c, rows, columns]),
        "to_keys": np.array([-1, c, keys]),
        "to_one_head": np.array([-1, keys, 1, c]),
        "to_head": np.array([-1, tokens, 1, c] if head == "one" else [-1, parts, tokens // parts, c]),
        "heads": np.array([1, 1 if head == "one" else parts, 1, 1]),
        "from_head": np.array([-1, tokens, c]),
        "to_last": np.array([-1, rows, columns, c]),
        "cells": np.array([rows, columns]),
        "pixels": np.array([height, width]),
    }


def body_of(head: str) -> str:
    """A patch embedding, an attention with fewer keys, a second stage, a head that adds both, a mask."""
    queries = "heads_q = Transpose<perm=[0,2,1,3]>(q4)" if head == "one" else "heads_q = Identity(q4)"
    together = "together = Transpose<perm=[0,2,1,3]>(values)" if head == "one" else "together = Identity(values)"
    return f"""
        pixels_f = Cast<to=1>(image)
        planes = Transpose<perm=[0,3,1,2]>(pixels_f)
        scaled = Mul(planes, scale)
        embedded = Conv<kernel_shape=[7,7], strides=[4,4], pads=[3,3,3,3]>(scaled, w0)
        flat = Reshape(embedded, to_tokens)
        tokens = Transpose<perm=[0,2,1]>(flat)
        q = MatMul(tokens, wq)
        q4 = Reshape(q, to_head)
        {queries}
        channels = Transpose<perm=[0,2,1]>(tokens)
        again = Reshape(channels, to_planes)
        fewer = Conv<kernel_shape=[2,2], strides=[2,2]>(again, w1)
        fewer_flat = Reshape(fewer, to_keys)
        keys = Transpose<perm=[0,2,1]>(fewer_flat)
        k4 = Reshape(keys, to_one_head)
        kt = Transpose<perm=[0,2,3,1]>(k4)
        v4 = Transpose<perm=[0,2,1,3]>(k4)
        heads_k = Expand(kt, heads)
        heads_v = Expand(v4, heads)
        scores = MatMul(heads_q, heads_k)
        attention = Softmax<axis=-1>(scores)
        values = MatMul(attention, heads_v)
        {together}
        attended = Reshape(together, from_head)
        stream = Add(tokens, attended)
        square = Reshape(stream, to_last)
        first = Transpose<perm=[0,3,1,2]>(square)
        second = Conv<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(first, w2)
        kept = Shape<start=0, end=2>(second)
        up_size = Concat<axis=0>(kept, cells)
        up = Resize<mode="linear">(second, , , up_size)
        summed = Add(first, up)
        logits = Conv<kernel_shape=[1,1]>(summed, w3)
        kept_2 = Shape<start=0, end=2>(logits)
        full_size = Concat<axis=0>(kept_2, pixels)
        full = Resize<mode="linear">(logits, , , full_size)
        winner = ArgMax<axis=1, keepdims=0>(full)
        mask = Cast<to=2>(winner)
    """


def small(size: tuple[int, int] = SIZE, batch: int | str = 1, head: str = "one", more: str = "", **constants) -> Graph:
    """A network of two stages, written for a size; `more` goes behind the attention, before its result is added."""
    body = body_of(head)
    if more:
        body = body.replace("stream = Add(tokens, attended)", f"{more}\n stream = Add(tokens, extra)")
    height, width = size
    signature = (
        f"(uint8[{batch},{height},{width},3] image) => (uint8[{batch},{height},{width}] mask, float[n,c,h,w] full)"
    )
    made = graph_of(
        signature, "\n".join(line.strip() for line in body.splitlines()), constants_of(size, head) | constants
    )
    contract = Contract(size, DYNAMIC if isinstance(batch, str) else batch, output="mask", mask_size=size)
    return dataclasses.replace(made, contract=contract)


@functools.cache
def outputs_of_one_written_for(size: tuple[int, int], images: int) -> list[np.ndarray]:
    return run(small(size, images), image_of(size, images))


@pytest.mark.parametrize("head", ["one", "split"])
@pytest.mark.parametrize("batch", [1, 3, "N"])
def test_equal_to_the_graph_written_for_each_size(batch: int | str, head: str) -> None:
    opened = open_size(small(SIZE, batch, head), batch=True)
    for size, images in itertools.product(SIZES, (1, 3)):
        wanted = outputs_of_one_written_for(size, images)
        for found, expected in zip(run(opened, image_of(size, images)), wanted, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=f"{size} x {images}")
        assert len(np.unique(wanted[0])) > 1


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_stays(batch: int) -> None:
    opened = open_size(small(SIZE, batch))
    assert opened.contract.batch == batch
    image = image_of((100, 70), batch)
    for found, expected in zip(run(opened, image), run(small((100, 70), batch), image), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_dimensions_have_readable_names_and_the_original_stays() -> None:
    graph = small()
    before = ir.to_proto(graph.model).SerializeToString()
    opened = open_size(graph, batch=True)
    assert ir.to_proto(graph.model).SerializeToString() == before
    assert (opened.contract.batch, opened.contract.size) == (DYNAMIC, SIZE)
    names = {value.name: str(value.shape) for node in opened.model.graph for value in node.outputs}
    assert str(opened.model.graph.inputs[0].shape) == "[batch,height,width,3]"
    assert names["mask"] == "[batch,height,width]"
    assert names["embedded"] == "[batch,8,ceil(height/4),ceil(width/4)]"
    assert names["second"] == "[batch,8,ceil(height/8),ceil(width/8)]"
    assert names["fewer"] == "[batch,8,floor(ceil(height/4)/2),floor(ceil(width/4)/2)]"
    assert names["scores"].startswith("[batch,1,ceil(height/4)*ceil(width/4),")


def test_shapes_are_read_once_and_where_nothing_cheaper_serves() -> None:
    """Tokens and heads copy with 0 and -1; planes of a stage and the mask's size are each read off one value."""
    opened = open_size(small(), batch=True).model.graph
    assert sum(node.op_type == "Shape" for node in opened) == 3  # batch, a stage's plane, the image's
    told = {n.name: ir.convenience.get_const_tensor(n.inputs[1]) for n in opened if n.op_type == "Reshape"}
    constant = {name: tensor.numpy().tolist() for name, tensor in told.items() if tensor is not None}
    assert constant["flat"] == [0, 0, -1]
    assert constant["q4"] == [0, 0, 1, 8]
    assert constant["attended"] == [0, 0, 8]
    assert {name for name, tensor in told.items() if tensor is None} == {"again", "square"}


def test_equal_parts_are_taken_as_they_are() -> None:
    graph = small(SIZE, 1, "split")
    exact, overlapping = open_size(graph, equal_parts=True), open_size(graph)
    assert len(list(exact.model.graph)) < len(list(overlapping.model.graph))
    even, odd = image_of((96, 64)), image_of((132, 68))
    np.testing.assert_array_equal(run(exact, even)[1], run(small((96, 64)), even)[1])
    with pytest.raises(Fail, match="reshape"):
        run(exact, odd)
    assert not parts_stay_equal((132, 68), (132, 68), Grid())


TOKENS = math.prod(Grid().of(SIZE))
REFUSED = {
    "positions": ("extra = Add(attended, table)", {"table": np.zeros((1, TOKENS, 8))}, "extra (Add)", "same at every"),
    "mixing tokens": (
        "mixed = MatMul(channels, table)\n extra = Transpose<perm=[0,2,1]>(mixed)",
        {"table": np.eye(TOKENS)},
        "mixed (MatMul)",
        "same at every",
    ),
    "an unknown operator": ("extra = CumSum(attended, axis)", {"axis": np.array(1)}, "extra (CumSum)", "not known"),
    "a picked token": (
        "one = Gather<axis=1>(attended, index)\n extra = Add(attended, one)",
        {"index": np.array([0])},
        "one (Gather)",
        "picks along",
    ),
    "a size of its own": (
        'p = Reshape(channels, to_planes)\n r = Resize<mode="linear">(p, , , sizes)\n extra = Identity(attended)',
        {"sizes": np.array([1, 8, 20, 30])},
        "r (Resize)",
        "20 along ceil(height/4) is no size known",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_follow_is_refused_by_name(case: str) -> None:
    more, constants, node, reason = REFUSED[case]
    with pytest.raises(ContractError) as caught:
        open_size(small(more=more, **constants))
    assert str(caught.value).startswith(node)
    assert reason in str(caught.value)
    assert str(caught.value).endswith("build for fixed sizes")


def test_thirds_are_refused() -> None:
    """132x68 has 561 queries: 3 parts there, and none that halves could replace."""
    graph = small((132, 68), 1, "split")
    with pytest.raises(ContractError, match=r"^q4 \(Reshape\) .* at some sizes only"):
        open_size(graph)


@pytest.mark.parametrize(
    ("contract", "remedy"),
    [
        (Contract(SIZE, mask_size=SIZE, source_size=(480, 640)), "leave out --source-size"),
        (Contract(SIZE, mask_size=(32, 48)), "--mask-size input or network"),
        (Contract(SIZE, mask_size=(16, 24), grid=Grid(7, 2)), "--mask-size input or network"),
        (Contract((32, 96), mask_size=(32, 96)), "--size of 64x64 or more"),
    ],
)
def test_contracts_without_freedom_are_refused(contract: Contract, remedy: str) -> None:
    with pytest.raises(ContractError, match=remedy):
        open_size(dataclasses.replace(small(), contract=contract))


HEIGHT, WIDTH = dim(Unknown("h", 16, "height")), dim(Unknown("w", 24, "width"))
BATCH = dim(Unknown("batch", 1, "batch"))


@pytest.mark.parametrize(
    ("source", "sizes", "wanted"),
    [
        ((BATCH, dim(8), HEIGHT, WIDTH), (1, 8, 384), "batch 8 h*w"),
        ((BATCH, product((HEIGHT, WIDTH)), dim(8)), (1, 16, 24, 8), "batch h w 8"),
        ((BATCH, product((HEIGHT, WIDTH)), dim(24)), (1, 384, 3, 8), "batch h*w 3 8"),
        ((BATCH, HEIGHT, WIDTH, dim()), (1, 1, 384), "batch 1 h*w"),
        ((BATCH, dim(16), HEIGHT), (16, 16), "batch*16 h"),
        ((product((HEIGHT, WIDTH)),), (2, 192), "2 h*w/2"),
        ((HEIGHT,), (4, 4), None),
        ((HEIGHT, dim(6)), (32, 3), "h*2 3"),
        ((HEIGHT, dim(6)), (6, 16), None),
    ],
)
def test_what_a_reshape_means(source, sizes: tuple[int, ...], wanted: str | None) -> None:
    found = split(source, sizes)
    assert (found if found is None else " ".join(map(str, found))) == wanted
    if found is not None:
        assert split(found, [one.value for one in source]) == source


@pytest.mark.parametrize(("kernel", "padding", "stride"), [(7, 6, 4), (3, 2, 2), (3, 2, 1), (8, 0, 8), (5, 2, 3)])
def test_strides_round_as_convolutions_do(kernel: int, padding: int, stride: int) -> None:
    for side in range(32, 70):
        source = dim(Unknown("x", side, "height"))
        found = strided(source, kernel, padding, stride)
        name = str(found).replace("ceil", "math.ceil").replace("floor", "math.floor")
        assert found.value == eval(name, {"math": math, "x": side}) == (side + padding - kernel) // stride + 1


def test_which_profiles_keep_parts_equal() -> None:
    usual = Grid()
    assert parts_stay_equal((512, 512), (512, 512), usual)
    assert not parts_stay_equal((256, 256), (1024, 1024), usual)
    assert parts_stay_equal((512, 256), (512, 1024), usual)  # 128 rows of any length
    assert parts_stay_equal((509, 256), (512, 1024), usual)
    assert not parts_stay_equal((508, 256), (512, 1024), usual)
    assert parts_stay_equal((256, 256), (1024, 1024), usual, step=32)
    assert parts_stay_equal((132, 68), (132, 68), usual, parts=3)
    assert parts_stay_equal((508, 256), (508, 1024), Grid(3, 2)), "254 rows, where the usual grid has 127"
    cases = itertools.product(
        itertools.product((60, 61, 64), repeat=2), ((0, 0), (0, 5), (3, 3)), (usual, Grid(3, 2), Grid(4, 4))
    )
    for least, more, grid in cases:
        most = (least[0] + more[0], least[1] + more[1])
        counts = [
            math.prod(grid.of((height, width)))
            for height in range(least[0], most[0] + 1)
            for width in range(least[1], most[1] + 1)
        ]
        assert parts_stay_equal(least, most, grid) == all(count % 2 == 0 for count in counts)


OTHERS = {  # odd sides, an odd number of cells, several images
    "scores": [((101, 131), 1), ((132, 68), 1)],
    "logits at the network's size": [((160, 128), 3)],
}
CONTRACTS = pick(*OTHERS, size=SIZE)


def exported(checkpoint: Path, size: tuple[int, int], rewrites: bool = True, **contract) -> Graph:
    source = load(checkpoint)
    graph = export(source, contract_for(source, size=size, **contract))
    return passes.run(graph) if rewrites else graph


@pytest.fixture(scope="module", params=CONTRACTS)
def networks(request: pytest.FixtureRequest, checkpoint: Path) -> tuple[Graph, Ranges, list[Graph]]:
    """The small checkpoint exported for one size, ranges, and exported for others."""
    contract = CONTRACTS[request.param]
    graph = exported(checkpoint, **contract)
    return (
        graph,
        calibrate_graph(graph, GeneratedScenes(graph.contract.image_size)),
        [exported(checkpoint, **{**contract, "size": size, "batch": batch}) for size, batch in OTHERS[request.param]],
    )


def lowered(graph: Graph, precision: str, ranges: Ranges, placement: Placement) -> Graph:
    made = graph.copy()
    if precision != "fp32":
        to_fp16(made, ranges.peaks)
    if precision == "int8":
        assert to_int8(made, placement, ranges, FORMS["tensorrt"])
    return made


def rounded_run(graph: Graph, image: np.ndarray) -> list[np.ndarray]:
    """As `run`, with every rounding to FP16, some of which ONNX Runtime leaves out between operators of its choice."""
    made = graph.copy()
    emulate_fp16(made)
    return run(made, image)


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("split", [False, True])
def test_equal_to_an_export_of_each_size(networks, precision: str, split: bool) -> None:
    graph, ranges, others = networks
    placement = default_placement(graph.model.graph)
    source = graph.copy()
    if split:
        assert passes.run(source, (SplitQueries(),)).rewrites[-1].rewritten
    source = lowered(source, precision, ranges, placement)
    opened = open_size(source, batch=True)
    for fixed in (source, *(lowered(other, precision, ranges, placement) for other in others)):
        image = image_of(fixed.contract.size, fixed.contract.batch)
        for found, wanted in zip(rounded_run(opened, image), rounded_run(fixed, image), strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=str(fixed.contract.size))
    own = image_of(SIZE)
    for found, wanted in zip(run(open_size(source, equal_parts=True), own), run(source, own), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
@pytest.mark.bundle
def test_a_plain_export_of_bgr_images_with_a_mask_of_the_networks_size(checkpoint: Path) -> None:
    contract = {"rewrites": False, "mask_size": "network", "channel_order": "bgr", "batch": DYNAMIC}
    opened = open_size(exported(checkpoint, SIZE, **contract))
    image = image_of((101, 131), 3)
    (found,), (wanted,) = run(opened, image), run(exported(checkpoint, (101, 131), **contract), image)
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(found)) > 1


@pytest.mark.slow
@pytest.mark.bundle
def test_class_scores_of_an_image_classifier(classifier: Path) -> None:
    opened = open_size(exported(classifier, SIZE))
    image = image_of((101, 131))
    for found, wanted in zip(run(opened, image), run(exported(classifier, (101, 131)), image), strict=True):
        np.testing.assert_array_equal(found, wanted)


PROFILES = {
    "sizes and batches": ("1x256x256:1x512x512:4x1024x1024",),
    "sizes": ("1x256x256:1x512x512:1x512x512",),
    "two of one size": ("1x512x512", "1x256x256"),
}


@pytest.fixture(scope="module")
def b0() -> tuple[Graph, Ranges]:
    """A B0 with random weights and 150 labels, from a size that no profile has, and ranges."""
    source = load("b0", random_init=True)
    graph = passes.run(export(source, contract_for(source, size=(128, 160))))
    return graph, calibrate_graph(graph, GeneratedScenes(graph.contract.image_size))


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_builds_it(b0: tuple[Graph, Ranges], precision: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs pip install segexport[rtx]")
    graph, ranges = b0
    source = passes.run(graph.copy(), (SplitQueries(),))
    source = lowered(source, precision, ranges, default_placement(graph.model.graph))
    profiles = tuple(map(parse_profile, PROFILES[name]))
    equal = all(parts_stay_equal(one.least[1:], one.most[1:], source.contract.grid) for one in profiles)
    assert equal == (name == "two of one size")
    open_size(source, batch=True, equal_parts=equal).save(tmp_path / "open.onnx")
    compile_plan(RTX, tmp_path / "open.onnx", tmp_path / "plan", options=TensorRtOptions(), profiles=profiles)
    report = read_plan(tmp_path / "plan")
    assert len(report.programs) == len(profiles)
    for program in report.programs:
        assert (program.attention.fused, program.attention.blocks) == (0 if precision == "fp32" else 8, 8)
