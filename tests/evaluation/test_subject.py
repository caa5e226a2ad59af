"""Checkpoints and bundles behind one surface: as bench has them when shown whole, as slow references in windows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bench.contender import open_bundle_call, open_reference_call
from segexport.bundle import Bundle
from segexport.engines import open_runner
from segexport.engines.base import in_order
from segexport.errors import CheckpointError, ContractError
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.subject import open_subject
from segexport.spec import DYNAMIC, to_json
from tests.evaluation import small
from tests.support.checkpoints import SIZE, save_checkpoint

pytestmark = pytest.mark.bundle

COLOUR = (124, 116, 104)
BILINEAR = 2
STRIDE = (40, 60)
ODD = (107, 141)


@pytest.fixture(scope="module")
def windowed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Logits, three at once, blue first."""
    out = tmp_path_factory.mktemp("evaluate") / "windowed"
    options = {"output": "logits", "mask_size": "network", "batch": 3, "channel_order": "bgr"}
    return segexport.build(checkpoint, out, engine="onnxruntime", size=SIZE, **options)


@pytest.fixture(scope="module")
def dynamic(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Logits at the image's size, any number at once."""
    out = tmp_path_factory.mktemp("evaluate") / "dynamic"
    return segexport.build(checkpoint, out, engine="onnxruntime", size=SIZE, output="logits", batch=DYNAMIC)


@pytest.fixture(scope="module")
def transformers_logits(checkpoint: Path):
    """uint8 [1, h, w, 3] to the logits of transformers' own model and processor."""
    import torch
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    model = SegformerForSemanticSegmentation.from_pretrained(checkpoint).eval()
    processor = SegformerImageProcessor.from_pretrained(checkpoint)

    def run(images: np.ndarray) -> np.ndarray:
        batch = processor(images=list(images), do_resize=False, return_tensors="pt")
        with torch.no_grad():
            return model(**batch).logits.numpy()

    return run


def image(size: tuple[int, int], seed: int = 9) -> np.ndarray:
    return scenes.scene(seed, size)[0]


@pytest.mark.parametrize("size", [SIZE, ODD], ids=str)
def test_a_whole_image_is_what_bench_makes_of_it(bundle: Bundle, checkpoint: Path, size: tuple[int, int]) -> None:
    rgb = image(size)
    contract = to_json(bundle.manifest.contract)
    with open_subject(bundle.folder, Protocol()) as subject:
        found = subject.segment(rgb)
        np.testing.assert_array_equal(found, open_bundle_call(str(bundle.folder), None)[0](rgb).decision)
        assert found.dtype == np.uint8
        assert subject.reference is not None
        reference = open_subject(subject.reference, subject.protocol, reference_source=subject.source)
    with reference:
        expected = open_reference_call(to_json(bundle.manifest.source), contract, None, None)[0](rgb).decision
        np.testing.assert_array_equal(reference.segment(rgb), expected)
        assert reference.labels == subject.labels
        assert reference.facts["size"] == subject.facts["size"] == list(SIZE)
        assert reference.facts["weights_sha256"] == subject.facts["weights_sha256"]
        assert (reference.facts["kind"], subject.facts["kind"]) == ("pytorch", "bundle")
        assert reference.reference is None


def test_a_bgr_bundle_of_logits_is_what_bench_makes_of_it(windowed: Bundle) -> None:
    rgb = image(ODD)
    with open_subject(windowed.folder, Protocol()) as subject:
        expected = open_bundle_call(str(windowed.folder), None, windowed.manifest.contract.batch)[0](rgb).decision
        np.testing.assert_array_equal(subject.segment(rgb), expected)


@pytest.mark.parametrize("size", [ODD, (50, 200), (33, 41), (64, 97)], ids=str)
def test_windows_on_pytorch(checkpoint: Path, transformers_logits, size: tuple[int, int]) -> None:
    rgb = image(size)
    expected = small.slide(transformers_logits, rgb, SIZE, STRIDE, COLOUR)
    with open_subject(checkpoint, Protocol(window=SIZE, stride=STRIDE)) as subject:
        found = subject.segment(rgb)
    assert found.shape == size
    assert small.same_but_for_ties(found, expected.argmax(0), expected, 1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("which", ["windowed", pytest.param("dynamic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [ODD, (50, 200), (33, 41)], ids=str)
def test_windows_on_an_engine(
    which: str, request: pytest.FixtureRequest, transformers_logits, size: tuple[int, int]
) -> None:
    """Against the same loop on the engine, one window at a time, and against transformers."""
    bundle: Bundle = request.getfixturevalue(which)
    rgb = image(size)
    contract = bundle.manifest.contract
    with open_runner(bundle) as runner:

        def run(images: np.ndarray) -> np.ndarray:
            repeated = np.repeat(in_order(images, contract), max(1, contract.batch), 0)
            return runner.run(repeated)["logits"][:1]

        engine = small.slide(run, rgb, SIZE, STRIDE, COLOUR)
    pytorch = small.slide(transformers_logits, rgb, SIZE, STRIDE, COLOUR)
    np.testing.assert_allclose(engine, pytorch, atol=1e-4 * np.abs(pytorch).max())
    with open_subject(bundle.folder, Protocol(window=SIZE, stride=STRIDE)) as subject:
        found = subject.segment(rgb)
    for expected in (engine, pytorch):
        assert small.same_but_for_ties(found, expected.argmax(0), expected, 2e-4 * np.abs(expected).max())


def test_short_side_on_pytorch_keeps_the_aspect(checkpoint: Path, transformers_logits) -> None:
    rgb = image(ODD)
    expected = small.views(transformers_logits, rgb, [(80, 105)], BILINEAR, flip=False)
    with open_subject(checkpoint, Protocol(short_side=80)) as subject:
        assert (subject.segment(rgb) == expected).mean() > 0.999
        assert subject.facts["size"] is None


@pytest.mark.parametrize("flip", [False, True])
def test_scales_on_pytorch(checkpoint: Path, transformers_logits, flip: bool) -> None:
    """A scale of 1 is the size asked for."""
    rgb = image(ODD)
    expected = small.views(transformers_logits, rgb, [(48, 72), SIZE, (96, 144)], BILINEAR, flip=flip)
    with open_subject(checkpoint, Protocol(size=SIZE, scales=(0.75, 1.0, 1.5), flip=flip)) as subject:
        assert (subject.segment(rgb) == expected).mean() > 0.999


def test_scales_in_windows_on_pytorch_and_an_engine(windowed: Bundle, checkpoint: Path, transformers_logits) -> None:
    rgb = image(ODD)

    def run(view: np.ndarray) -> np.ndarray:
        return small.slide(transformers_logits, view[0], SIZE, STRIDE, COLOUR)[None]

    protocol = Protocol(window=SIZE, stride=STRIDE, short_side=90, scales=(0.5, 1.25), flip=True)
    sizes = [(45, 59), (113, 148)]
    expected = small.views(run, rgb, sizes, BILINEAR, flip=True)
    for name in (checkpoint, windowed.folder):
        with open_subject(name, protocol) as subject:
            assert (subject.segment(rgb) == expected).mean() > 0.999


def test_flip_alone_on_a_bundle_shown_whole(windowed: Bundle, transformers_logits) -> None:
    rgb = image(ODD)
    expected = small.views(transformers_logits, rgb, [SIZE], BILINEAR, flip=True)
    with open_subject(windowed.folder, Protocol(flip=True)) as subject:
        assert (subject.segment(rgb) == expected).mean() > 0.999


@pytest.mark.parametrize(
    ("which", "protocol", "message"),
    [
        (
            "bundle",
            Protocol(window=SIZE),
            "gives mask, and windows need logits: build one with segexport build --model ",
        ),
        ("bundle", Protocol(flip=True), "--size 64x96 --output logits --mask-size network"),
        ("bundle", Protocol(size=(96, 96)), "built for 64x96 and cannot be evaluated at 96x96"),
        ("bundle", Protocol(short_side=64), "a short side needs windows of that size (--window 64x96)"),
        ("windowed", Protocol(scales=(1.0, 2.0)), "scales other than 1 need windows of that size (--window 64x96)"),
        ("windowed", Protocol(window=(64, 64)), "takes images of 64x96, the window is 64x64: pass --window 64x96"),
    ],
)
def test_what_a_bundle_cannot_do_names_what_can(
    which: str, protocol: Protocol, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        open_subject(request.getfixturevalue(which).folder, protocol)


def test_a_classifier_is_refused(classifier: Path) -> None:
    with pytest.raises(ContractError, match="is an image classifier, which has no class maps"):
        open_subject(classifier, Protocol())


def test_a_classifiers_bundle_is_refused(classifier_bundle: Bundle) -> None:
    with pytest.raises(ContractError, match="is an image classifier, which has no class maps"):
        open_subject(classifier_bundle.folder, Protocol())


def test_a_reference_of_other_weights_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", decoder_hidden_size=8)
    with pytest.raises(CheckpointError, match="has other weights than the bundle was built from"):
        open_subject(other, Protocol(), reference_source=bundle.manifest.source)
    with pytest.raises(CheckpointError, match="is a bundle"):
        open_subject(bundle.folder, Protocol(), reference_source=bundle.manifest.source)


@pytest.mark.slow
def test_random_weights_are_said(checkpoint: Path, tmp_path: Path) -> None:
    built = segexport.build(checkpoint, tmp_path / "random", engine="onnxruntime", size=SIZE, random_init=True)
    with open_subject(built.folder, Protocol()) as subject:
        assert subject.facts["random_weights"] is True
        assert subject.reference is not None
        with open_subject(subject.reference, subject.protocol, reference_source=subject.source) as reference:
            rgb = image(SIZE)
            assert reference.facts["random_weights"] is True
            assert (reference.segment(rgb) == subject.segment(rgb)).mean() > 0.999
