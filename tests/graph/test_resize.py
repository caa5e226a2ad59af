"""The resize in the graph is Pillow's, on the engines themselves: every pixel of every filter, up and down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.engines.openvino import shared_core
from segexport.graph import resize
from segexport.images import read_image, resize_image
from segexport.spec import FILTERS, Size
from tests.support.properties import examples
from tests.support.resizing import PICTURES, Resize, black_and_white, model, noise, on_onnxruntime

SIDES = st.integers(1, 150)
BILINEAR, BICUBIC = 2, 3


def on_openvino(proto: onnx.ModelProto) -> Resize:

    core = shared_core()  # a second one would leave a broken stack for signals behind
    model = core.read_model(proto.SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[0]


ENGINES = {"onnxruntime": on_onnxruntime, "openvino": on_openvino}


@pytest.mark.parametrize("engine", ENGINES)
@examples(60)
@given(
    source=st.tuples(SIDES, SIDES),
    size=st.tuples(SIDES, SIDES),
    resample=st.sampled_from(FILTERS),
    picture=st.sampled_from(PICTURES),
    seed=st.integers(0, 99),
)
def test_every_pixel_is_pillows(engine: str, source: Size, size: Size, resample: int, picture, seed: int) -> None:
    image = picture(source, seed)
    found = ENGINES[engine](model(source, size, resample))(image[None])
    np.testing.assert_array_equal(found[0], resize_image(image, size, resample))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((1080, 1920), (512, 512)),
        ((1920, 1080), (512, 512)),  # Pillow 13 resamples rows first where the height shrinks by much more
        ((720, 1280), (480, 853)),  # 3 to 2: half levels
        ((360, 480), (512, 512)),
    ],
    ids=str,
)
@pytest.mark.parametrize("resample", [BILINEAR, BICUBIC])
def test_sizes_of_cameras(engine: str, source: Size, size: Size, resample: int) -> None:
    run = ENGINES[engine](model(source, size, resample))
    for picture in (noise, black_and_white):
        image = picture(source, 1)
        np.testing.assert_array_equal(run(image[None])[0], resize_image(image, size, resample))


def test_the_order_of_the_axes_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which axis Pillow resamples first changed in 13; the graph follows the one that is installed."""
    tall, size = (1920, 1080), (512, 512)
    installed = resize._order
    with monkeypatch.context() as patch:
        patch.setattr(resize, "_order", lambda source, target: installed(source, target)[::-1])
        assert resize.equal_to_pillow(noise((150, 90)), (40, 44), BILINEAR) < 0.95
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    assert resize._order(tall, size) == [2, 1]
    monkeypatch.setattr(PIL, "__version__", "13.0.0")
    assert resize._order(tall, size) == [1, 2]
    assert resize._order((1080, 1920), size) == [2, 1]
    assert resize._order((1080, 512), size) == [1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("resample", [BILINEAR, 1])
def test_a_thousand_weights_a_pixel(engine: str, resample: int) -> None:
    """Beyond 64 weights the sums are no longer exact by construction; the result is within one level."""
    source, size = (40, 6400), (32, 32)
    image = noise(source)
    found = ENGINES[engine](model(source, size, resample))(image[None])[0]
    difference = np.abs(found - resize_image(image, size, resample).astype(np.float32))
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.999


@pytest.mark.parametrize("engine", ENGINES)
def test_an_open_batch(engine: str) -> None:
    images = np.stack([noise((60, 90), seed) for seed in range(3)])
    found = ENGINES[engine](model((60, 90), (41, 32), BILINEAR, batch="batch"))(images)
    np.testing.assert_array_equal(found, np.stack([resize_image(image, (41, 32), BILINEAR) for image in images]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_real_image(engine: str, camvid: Path) -> None:
    picture = read_image(sorted((camvid / "val" / "images").iterdir())[0])
    large = resize_image(picture, (1080, 1920), 1)
    for image in (picture, large):
        run = ENGINES[engine](model(image.shape[:2], (512, 512), BILINEAR))
        np.testing.assert_array_equal(run(image[None])[0], resize_image(image, (512, 512), BILINEAR))


def test_what_has_its_size_gets_no_operators() -> None:
    assert [node.op_type for node in model((64, 96), (64, 96), BILINEAR).graph.node] == ["Cast"]


@pytest.mark.parametrize(("size", "kept", "skipped"), [((64, 50), "columns", "rows"), ((50, 96), "rows", "columns")])
def test_an_axis_that_has_its_size_is_left_alone(size: Size, kept: str, skipped: str) -> None:
    names = [initializer.name for initializer in model((64, 96), size, BILINEAR).graph.initializer]
    assert any(kept in name for name in names)
    assert not any(skipped in name for name in names)


def test_the_matrices_stay_small() -> None:
    """Dense ones of 1080x1920 to 512x512 would take 12 MB with two halves of every weight."""
    proto = model((1080, 1920), (512, 512), BILINEAR)
    assert proto.ByteSize() < 500_000
    assert {n.op_type for n in proto.graph.node} == {
        *("Cast", "Reshape", "Slice", "MatMul", "Floor", "Add", "Mul", "Concat")
    }
    assert "Clip" in {n.op_type for n in model((64, 96), (50, 50), BICUBIC).graph.node}


def test_the_share_reported_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise((90, 120))
    assert resize.equal_to_pillow(image, (64, 64), BILINEAR) == 1.0
    monkeypatch.setattr(resize, "resize_image", lambda image, size, _: resize_image(image, size, BICUBIC))
    assert resize.equal_to_pillow(image, (64, 64), BILINEAR) < 0.1
