"""Every engine computes what PyTorch computes: sizes, batches, channel orders, outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bundle import Bundle
from segexport.engines import ENGINES, info, open_runner
from segexport.engines.pytorch import open_checkpoint
from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import DYNAMIC, Contract, format_size
from tests.support.contracts import SEGMENTATION

pytestmark = pytest.mark.bundle

BUILT_FOR = [name for name in ENGINES if info(name).builds and info(name).devices]
FEWER = {"mask", "scores of a dynamic batch", "logits of two images in bgr", "without rewrites"}
CONTRACTS = {name: options for name, options in SEGMENTATION.items() if name not in FEWER}
"""All but those of which others have more."""
SLOW = {"bgr", "logits", "letterbox", "shortest edge", "1024x512", "logits of a letterbox", "mask of another size"}
"""Cases of which another one has the most: each costs a build for every engine."""

TOLERANCE = {"logits": 1e-4, "confidence": 1e-5}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CONTRACTS],
    ids=str,
)
def built(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("parity") / "bundle"
    return segexport.build(checkpoint, out, engine="onnxruntime", **CONTRACTS[request.param])


def pictures(contract: Contract) -> np.ndarray:
    count = 2 if contract.batch == DYNAMIC else contract.batch
    return np.stack([scenes.scene(i, contract.image_size)[0] for i in range(count)])


@pytest.fixture(scope="module")
def expected(built: Bundle, checkpoint: Path) -> dict[str, np.ndarray]:
    """PyTorch's outputs, asked for in RGB: the channel order is the engines' business."""
    loaded = segexport.load(checkpoint)
    with open_checkpoint(loaded, built.manifest.contract) as reference:
        return reference.run(pictures(built.manifest.contract))


@pytest.mark.parametrize("engine", BUILT_FOR)
def test_outputs_are_pytorchs(built: Bundle, expected: dict[str, np.ndarray], engine: str, tmp_path: Path) -> None:
    bundle = built if engine == "onnxruntime" else segexport.rebuild(built, tmp_path / engine, engine=engine)
    contract = bundle.manifest.contract
    images = pictures(contract)
    if contract.channel_order == "bgr":
        images = np.ascontiguousarray(images[..., ::-1])
    with open_runner(bundle) as runner:
        found = runner.run(images)
        again = runner.run(images)
    assert list(found) == list(contract.outputs)
    for name, value in found.items():
        want = expected[name]
        assert value.shape == want.shape, format_size(contract.size)
        assert value.dtype == want.dtype
        np.testing.assert_array_equal(value, again[name])
        if name == "mask":
            assert len(np.unique(want)) > 2, "a mask of one class proves nothing"
            assert (value == want).mean() >= 0.9998
        else:
            np.testing.assert_allclose(value, want, atol=TOLERANCE[name] * max(1, np.abs(want).max()))


@pytest.mark.parametrize("engine", BUILT_FOR)
def test_a_classifier_ranks_as_pytorch_does(
    classifier: Path, classifier_bundle: Bundle, engine: str, tmp_path: Path
) -> None:
    built = classifier_bundle
    bundle = built if engine == "onnxruntime" else segexport.rebuild(built, tmp_path / "top", engine=engine)
    contract = bundle.manifest.contract
    image = scenes.scene(3, contract.size)[0][None]
    with open_checkpoint(segexport.load(classifier), contract) as reference, open_runner(bundle) as runner:
        want, found = reference.run(image), runner.run(image)
    np.testing.assert_array_equal(found["classes"], want["classes"])
    assert found["classes"].dtype == np.int32
    np.testing.assert_allclose(found["scores"], want["scores"], rtol=1e-4)


def test_without_rewrites_the_masks_are_the_same(plain: Bundle, bundle: Bundle) -> None:
    assert plain.manifest.rewrites == ()
    assert bundle.manifest.rewrites[0].rewritten
    image = scenes.scene(5, bundle.manifest.contract.size)[0][None]
    with open_runner(plain) as one, open_runner(bundle) as other:
        np.testing.assert_array_equal(one.run(image)["mask"], other.run(image)["mask"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 64, 96, 3), np.float32), "float32"),
        (np.zeros((1, 64, 95, 3), np.uint8), r"\[N, 64, 96, 3\]"),
        (np.zeros((64, 96, 3), np.uint8), r"\[N, 64, 96, 3\]"),
        (np.zeros((2, 64, 96, 3), np.uint8), "exactly 1"),
    ],
)
def test_a_runner_refuses_what_its_contract_does_not_promise(bundle: Bundle, images: np.ndarray, message: str) -> None:
    with open_runner(bundle) as runner, pytest.raises(ContractError, match=message):
        runner.run(images)


def test_an_unknown_device_is_refused(bundle: Bundle, openvino_bundle: Bundle) -> None:
    for one in (bundle, openvino_bundle):
        with pytest.raises(EngineUnavailable, match="NPU9"):
            open_runner(one, device="NPU9")


def test_threads_are_the_callers_choice(bundle: Bundle) -> None:
    image = scenes.scene(5, bundle.manifest.contract.size)[0][None]
    with open_runner(bundle, threads=1) as one, open_runner(bundle, threads=2) as two:
        np.testing.assert_array_equal(one.run(image)["mask"], two.run(image)["mask"])
