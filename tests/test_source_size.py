"""Bundles that take the camera's images: what is resized, where a letterbox lies, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from segexport.contracts import contract_for
from segexport.data import read_json
from segexport.decision import agreement
from segexport.engines import open_runner
from segexport.engines.pytorch import image_processor, open_checkpoint, without_margins
from segexport.errors import ContractError
from segexport.golden import selftest
from segexport.graph import postprocess
from segexport.images import read_image, resize_image, resize_nearest
from segexport.spec import Contract, Grid, Size, shortest_edge
from tests.support.checkpoints import SIZE
from tests.support.cli import RunCli
from tests.support.handmade import graph_of, outputs_of
from tests.support.properties import examples

CAMERA = (135, 240)
SIZES = st.tuples(st.integers(32, 700), st.integers(32, 700))
SMALL = st.tuples(st.integers(32, 99), st.integers(32, 99))
GRIDS = st.builds(Grid, st.integers(1, 63), st.integers(1, 64))


@pytest.fixture(scope="module")
def letterboxed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("letterbox") / "bundle"
    return segexport.build(
        checkpoint, out, engine="onnxruntime", size=SIZE, source_size=CAMERA, resize_mode="letterbox"
    )


@given(size=SIZES, source=SIZES, grid=GRIDS)
@example(size=(64, 96), source=(135, 240), grid=Grid())
def test_a_letterbox_covers_whole_logits(size: Size, source: Size, grid: Grid) -> None:
    contract = Contract(size, source_size=source, resize_mode="letterbox", grid=grid)
    scale = min(size[0] / source[0], size[1] / source[1])
    fills = False
    for whole, side, first, pixels in zip(size, contract.content_size, contract.content_offset, source, strict=True):
        assert side == whole or side % grid.stride == 0
        assert first % grid.stride == 0
        assert first <= whole - first - side < first + 2 * grid.stride, "centred, as far as whole logits allow"
        assert abs(side - pixels * scale) <= grid.stride, "the aspect is kept to a logit"
        fills = fills or side == whole
    assert fills


def embedded(image: np.ndarray, grid: Grid) -> np.ndarray:
    """[rows, columns]: the sum of each patch of an image [H, W], beyond which there is nothing."""
    rows, columns = grid.of(image.shape)
    edge = grid.patch // 2
    sums = np.zeros((rows, columns), np.float32)
    for row, column in itertools.product(range(rows), range(columns)):
        top, left = row * grid.stride - edge, column * grid.stride - edge
        sums[row, column] = image[max(top, 0) : top + grid.patch, max(left, 0) : left + grid.patch].sum()
    return sums


@given(size=SMALL, source=SMALL, grid=GRIDS, batch=st.integers(1, 2))
@example(size=(64, 96), source=(135, 240), grid=Grid(7, 2), batch=1)
@example(size=(50, 35), source=(33, 96), grid=Grid(5, 3), batch=1)
@example(size=(64, 96), source=(135, 240), grid=Grid(4, 4), batch=2)
@examples(40)
def test_the_logits_of_a_letterbox_are_the_images(size: Size, source: Size, grid: Grid, batch: int) -> None:
    """Margins of zeros are what a convolution pads with, so what is left is as if the image stood alone."""
    contract = Contract(size, batch, output="logits", source_size=source, resize_mode="letterbox", grid=grid)
    contract = dataclasses.replace(contract, mask_size=grid.of(contract.content_size))
    (height, width), (top, left) = contract.content_size, contract.content_offset
    image = np.random.default_rng(0).integers(1, 9, (height, width)).astype(np.float32)
    seen = np.zeros(size, np.float32)
    seen[top : top + height, left : left + width] = image
    logits = np.broadcast_to(embedded(seen, grid), (batch, 2, *grid.of(size)))
    want = np.broadcast_to(embedded(image, grid), (batch, 2, *grid.of(image.shape)))

    rows, columns = logits.shape[2:]
    plain = f"(float[{batch},2,{rows},{columns}] x) => (float[{batch},2,{rows},{columns}] logits)"
    graph = graph_of(plain, "logits = Identity(x)", {})
    postprocess.append(graph.model.graph, contract)
    np.testing.assert_array_equal(outputs_of(graph, {"x": logits})[0], want)
    reference = without_margins(torch.from_numpy(logits.copy()), contract)
    np.testing.assert_array_equal(reference.numpy(), want)


@given(size=SIZES, mode=st.sampled_from(["stretch", "letterbox"]))
def test_images_of_the_networks_size_stay_as_they_are(size: Size, mode) -> None:
    contract = Contract(size, source_size=size, resize_mode=mode)
    assert contract.image_size == contract.content_size == size
    assert contract.content_offset == (0, 0)


@given(source=SIZES, short=st.integers(32, 700))
def test_the_shortest_edge_is_transformers(source: Size, short: int) -> None:
    from transformers.image_transforms import get_resize_output_image_size

    image = np.empty((*source, 3), np.uint8)
    assert shortest_edge(source, short) == get_resize_output_image_size(
        image, short, default_to_square=False, input_data_format="channels_last"
    )


def test_contracts_for_a_camera(checkpoint: Path, classifier: Path) -> None:
    loaded = segexport.load(checkpoint)
    assert contract_for(loaded, source_size=CAMERA) == Contract(SIZE, mask_size=CAMERA, source_size=CAMERA)
    short = contract_for(loaded, source_size=CAMERA, resize_mode="shortest-edge")
    assert short.size == short.content_size == (64, 113)
    assert short.mask_size == CAMERA
    boxed = contract_for(loaded, source_size=CAMERA, resize_mode="letterbox", mask_size="network")
    assert (boxed.content_size, boxed.content_offset) == ((56, 96), (4, 0))
    assert boxed.mask_size == (14, 24), "the logits of the image, without the margins"
    assert contract_for(segexport.load(classifier), source_size=CAMERA).image_size == CAMERA


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_size": (20, 240)}, "height 20 .* --source-size between 32x32 and 16384x16384"),
        ({"source_size": (0, 240), "resize_mode": "shortest-edge"}, "height 0 .* --source-size"),
        ({"source_size": (32, 16385)}, "width 16385 .* --source-size"),
        ({"source_size": (32, 16384), "resize_mode": "shortest-edge"}, "width 32768 .* --size"),
        ({"resize_mode": "letterbox"}, "letterbox depends on the image's size: pass --source-size"),
        ({"resize_mode": "shortest-edge"}, "shortest-edge depends on the image's size: pass --source-size"),
        ({"source_size": CAMERA, "resize_mode": "crop"}, "stretch or letterbox or shortest-edge"),
    ],
)
def test_what_cannot_be_resized_is_refused(checkpoint: Path, options: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        contract_for(segexport.load(checkpoint), **options)


def test_a_filter_that_pillow_alone_has_is_refused(checkpoint: Path) -> None:
    loaded = segexport.load(checkpoint)
    other = dataclasses.replace(loaded, preprocessing=dataclasses.replace(loaded.preprocessing, resample=7))
    with pytest.raises(ContractError, match="filter 7"):
        contract_for(other, source_size=CAMERA)
    assert contract_for(other).size == SIZE


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("mode", "top", "left", "size"), [("letterbox", 4, 0, (56, 96)), ("shortest-edge", 0, 0, (64, 113))]
)
def test_the_network_sees_what_the_processor_makes(
    mode, top: int, left: int, size: Size, checkpoint: Path, tmp_path: Path
) -> None:
    """The tensor before the first convolution: the processor's inside, zeros outside."""
    graph = segexport.export(checkpoint, size=SIZE, source_size=CAMERA, resize_mode=mode, rewrites=False)
    model = ir.to_proto(graph.model)
    seen = next(node for node in model.graph.node if node.op_type == "Conv").input[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(seen, onnx.TensorProto.FLOAT, None))
    image = scenes.scene(1, CAMERA)[0]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([seen], {"image": image[None]})
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    want = image_processor(segexport.load(checkpoint))(images=resized, do_resize=False, return_tensors="np")
    inside = found[..., top : top + size[0], left : left + size[1]]
    np.testing.assert_allclose(inside, want["pixel_values"], atol=2e-6)
    found[..., top : top + size[0], left : left + size[1]] = 0
    assert not found.any()


@pytest.mark.bundle
def test_the_resize_is_not_taken_for_a_decode_head(letterboxed: Bundle) -> None:
    decode_head = letterboxed.manifest.rewrites[0]
    assert decode_head.rewritten
    assert not decode_head.declined


@pytest.mark.bundle
def test_images_of_the_cameras_size_go_in_untouched(letterboxed: Bundle) -> None:
    image = scenes.scene(2, CAMERA)[0]
    with segexport.open(letterboxed) as net:
        assert net.prepare(image).base is image, "the same memory"
        mask = net.run(image).mask
        np.testing.assert_array_equal(mask, net.runner.run(image[None])["mask"][0])
        other = scenes.scene(2, (100, 150))[0]
        np.testing.assert_array_equal(
            net.run(other).mask, resize_nearest(net.run(resize_image(other, CAMERA, 2)).mask, (100, 150))
        )
        with pytest.raises(ContractError, match=r"\[N, 135, 240, 3\]"):
            net.runner.run(scenes.scene(2, SIZE)[0][None])


@pytest.mark.bundle
def test_the_bundle_says_how_exact_its_resize_is(letterboxed: Bundle, tmp_path: Path) -> None:
    other = segexport.rebuild(letterboxed, tmp_path / "openvino", engine="openvino")
    for bundle in (letterboxed, other):
        content = json.loads((bundle.folder / "segexport.json").read_text())
        jsonschema.validate(content, read_json("manifest.schema.json"))
        assert content["golden"]["resize_equal_to_pillow"] == 1.0
        assert content["golden"]["agreement_with_reference"] >= 0.999
        assert (content["contract"]["source_size"], content["contract"]["resize_mode"]) == ([*CAMERA], "letterbox")
        assert selftest(bundle).agreement == 1.0
    with Image.open(other.folder / "golden" / "reference.png") as mask:
        assert mask.size == CAMERA[::-1]


@pytest.mark.bundle
def test_the_command_line(checkpoint: Path, tmp_path: Path, run_cli: RunCli) -> None:
    common = ("build", "-m", checkpoint, "--engine", "onnxruntime", "-o", tmp_path / "bundle", "--size", "64x96")
    refused = run_cli(*common, "--resize-mode", "letterbox")
    assert refused.code == 2
    assert "pass --source-size" in refused.err.splitlines()[-1]
    assert run_cli(*common, "--source-size", "big").code == 2
    assert not list(tmp_path.iterdir())
    built = run_cli(*common, "--source-size", "135x240", "--resize-mode", "letterbox", "--verbose")
    assert built.code == 0, built.err
    assert "uint8 [1, 135, 240, 3] RGB, resized to 56x96 in 64x96 -> mask at 135x240" in built.out
    assert f"100.000% of the golden image's pixels as Pillow {Image.__version__}" in built.out


@pytest.mark.slow
@pytest.mark.bundle
def test_a_benchmark_says_who_resized(letterboxed: Bundle, tmp_path: Path) -> None:
    own = scenes.write_dataset(tmp_path / "own", 2, seed=scenes.VALIDATION_SEED, size=CAMERA)
    reference, row = segexport.benchmark([letterboxed], own, limit=2).rows
    assert reference.notes == ("images of 135x240 resized by Pillow to 64x96",)
    assert row.notes == ("pytorch stretches the images, this bundle letterboxes them",)
    assert row.size == SIZE
    other = scenes.write_dataset(tmp_path / "other", 2, seed=scenes.VALIDATION_SEED, size=(80, 120))
    (row,) = segexport.benchmark([letterboxed], other, limit=2, use_reference=False).rows
    assert row.notes == ("images of 80x120 resized by Pillow to 135x240, their class maps by nearest neighbour",)


@pytest.mark.bundle
@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.slow
def test_real_images_of_a_camera(mode, camvid: Path, camvid_checkpoint: Path, tmp_path: Path) -> None:
    """What the trained network sees in an image of another size, against PyTorch with Pillow in front of it."""
    source = (540, 720)
    built = segexport.build(
        camvid_checkpoint,
        tmp_path / "bundle",
        engine="onnxruntime",
        size=(360, 512),
        source_size=source,
        resize_mode=mode,
    )
    assert built.manifest.golden["agreement_with_reference"] >= 0.999
    rebuilt = segexport.rebuild(built, tmp_path / "openvino", engine="openvino")
    picture = read_image(sorted((camvid / "val" / "images").iterdir())[3])
    image = resize_image(picture, source, Image.Resampling.LANCZOS)[None]
    contract = built.manifest.contract
    with open_checkpoint(segexport.load(camvid_checkpoint), contract) as reference:
        want = reference.run(image)["mask"][0]
    for bundle in (built, rebuilt):
        with open_runner(bundle) as runner:
            found = runner.run(image)["mask"][0]
        assert found.shape == source
        assert agreement(found, want) >= 0.999
