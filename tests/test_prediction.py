"""A bundle from Python: channel orders, several images at once, confidences, overlays, and what each result gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segexport
from segexport import Prediction, Segmenter, native, scenes
from segexport.bundle import Bundle
from segexport.engines import Outputs, Runner
from segexport.engines.base import OPEN_BATCH_PIXELS
from segexport.errors import ContractError, DataError, OutputError
from segexport.images import UInt8, overlay
from segexport.prediction import softmax_of_winner
from segexport.spec import DYNAMIC
from tests.support.checkpoints import SIZE
from tests.support.class_maps import upsampled
from tests.support.engines import require_engine
from tests.support.once import built_once

pytestmark = pytest.mark.bundle
COMPILED = pytest.mark.skipif(not native.available(), reason=native.MISSING)
ENGINES = ("onnxruntime", "openvino")
TOLERANCE = 1e-5

Open = Callable[..., Segmenter]


@pytest.fixture
def open_built(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Open]:
    """Opens the small checkpoint built at 64x96 with any options; closed after the test."""
    opened: list[Segmenter] = []

    def open_(engine: str = "onnxruntime", **options: object) -> Segmenter:
        require_engine(engine)
        fixture = "bundle/tiny" if engine == "onnxruntime" else "openvino/tiny"  # what others use too
        given = {key: value for key, value in options.items() if value not in (1, "rgb")}
        name = "-".join([fixture, *(f"{key}-{value}" for key, value in given.items())])
        opened.append(segexport.open(built_once(tmp_path_factory, name, checkpoint, engine=engine, size=SIZE, **given)))
        return opened[-1]

    yield open_
    for net in opened:
        net.close()


@pytest.fixture
def net(bundle: Bundle) -> Iterator[Segmenter]:
    with segexport.open(bundle) as opened:
        yield opened


class Counting(Runner):
    """A real runner, and how many images each of its calls had."""

    def __init__(self, runner: Runner) -> None:
        self.contract = runner.contract
        self.calls: list[int] = []
        self._runner = runner

    def stage(self, images: UInt8) -> None:
        self.calls.append(len(images))
        self._runner.stage(images)

    def execute(self) -> None:
        self._runner.execute()

    def fetch(self) -> Outputs:
        return self._runner.fetch()


def mixed(folder: Path, count: int) -> list[Path | Image.Image | UInt8]:
    """Files, Pillow images and arrays in turn, every other one of another size than the bundle's."""
    found: list[Path | Image.Image | UInt8] = []
    for i in range(count):
        rgb = scenes.scene(i, SIZE if i % 2 else (70, 61))[0]
        path = folder / f"{i}.png"
        Image.fromarray(rgb).save(path)
        found.append((path, Image.fromarray(rgb), rgb)[i % 3])
    return found


class TestChannelOrder:
    @pytest.mark.parametrize("built", ["rgb", "bgr"])
    def test_a_bgr_frame_gives_the_mask_of_its_rgb_file(self, open_built: Open, tmp_path: Path, built: str) -> None:
        net = open_built(channel_order=built)
        for number, size in enumerate([SIZE, (50, 70)]):
            rgb = scenes.scene(number, size)[0]
            bgr = np.ascontiguousarray(rgb[..., ::-1])
            Image.fromarray(rgb).save(tmp_path / "scene.png")
            want = net.run(tmp_path / "scene.png").mask
            np.testing.assert_array_equal(net.run(bgr, channel_order="bgr").mask, want)
            np.testing.assert_array_equal(net.run(rgb, channel_order="rgb").mask, want)
            swapped = net.run(bgr, channel_order="rgb").mask
            assert (swapped != want).any(), "the order makes no difference to this network"
            with segexport.open(net.bundle, channel_order="bgr") as other:
                np.testing.assert_array_equal(other.run(bgr).mask, want)
                np.testing.assert_array_equal(other.run(bgr, channel_order="rgb").mask, swapped)
                np.testing.assert_array_equal(other.run(Image.fromarray(rgb)).mask, want)
            unsaid = net.run(rgb if built == "rgb" else bgr)
            np.testing.assert_array_equal(unsaid.mask, want)

    def test_files_and_pillow_images_have_none_to_give(self, net: Segmenter, tmp_path: Path) -> None:
        picture = Image.fromarray(scenes.scene(0, SIZE)[0])
        picture.save(tmp_path / "scene.png")
        for image in (tmp_path / "scene.png", str(tmp_path / "scene.png"), picture):
            with pytest.raises(ContractError, match=r"the image is no array.*: leave out channel_order"):
                net.run(image, channel_order="rgb")
        with pytest.raises(ContractError, match="image 1 is no array"):
            net.run([scenes.scene(0, SIZE)[0], tmp_path / "scene.png"], channel_order="bgr")

    def test_there_are_two(self, net: Segmenter) -> None:
        image = scenes.scene(0, SIZE)[0]
        for refused in (
            lambda: net.run(image, channel_order="BGR"),  # type: ignore[call-overload]
            lambda: net.run(image).overlay(channel_order="BGR"),  # type: ignore[arg-type]
            lambda: segexport.open(net.bundle, channel_order="BGR"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ContractError, match="channel order 'BGR' is unknown: pass rgb or bgr"):
                refused()


class TestSeveralImages:
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize(("batch", "calls"), [(1, [1] * 8), (3, [3, 3, 3]), (DYNAMIC, [5, 3])])
    def test_run_in_batches_and_give_what_single_runs_give(
        self,
        open_built: Open,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        engine: str,
        batch: int,
        calls: list[int],
    ) -> None:
        monkeypatch.setattr("segexport.engines.base.OPEN_BATCH_PIXELS", 5 * SIZE[0] * SIZE[1] + 1)
        net = open_built(engine, batch=batch)
        images = mixed(tmp_path, 8)
        single = [net.run(image).mask for image in images]
        runner = Counting(net.runner)
        found = Segmenter(net.bundle, runner).run(images)
        assert runner.calls == calls
        for one, want in zip(found, single, strict=True):
            np.testing.assert_array_equal(one.mask, want)
        assert len({mask.tobytes() for mask in single}) == len(single), "images that look alike prove no order"

    def test_an_open_batch_has_a_bound(self, open_built: Open) -> None:
        assert open_built(batch=DYNAMIC).runner.batch == OPEN_BATCH_PIXELS // (SIZE[0] * SIZE[1])

    def test_an_array_of_several_and_whatever_can_be_gone_through(self, net: Segmenter) -> None:
        images = np.stack([scenes.scene(i, SIZE)[0] for i in range(3)])
        single = [net.run(image).mask for image in images]
        for several in (images, list(images), tuple(images), iter(images)):
            for one, want in zip(net.run(several), single, strict=True):
                np.testing.assert_array_equal(one.mask, want)
        turned = net.run(images[..., ::-1], channel_order="bgr")
        np.testing.assert_array_equal(turned[2].mask, single[2])

    def test_none_give_none(self, net: Segmenter) -> None:
        assert net.run([]) == []
        assert net.run(np.empty((0, *SIZE, 3), np.uint8)) == []

    def test_what_is_no_image_is_named(self, net: Segmenter, tmp_path: Path) -> None:
        image = scenes.scene(0, SIZE)[0]
        (tmp_path / "text.png").write_text("no image")
        refused: list[tuple[object, str]] = [
            (image.astype(np.float32), r"the image is float32 \[64, 96, 3\]: pass uint8 \[H, W, 3\]"),
            (image[..., 0], r"the image is uint8 \[64, 96\]"),
            (image[:0], r"the image is uint8 \[0, 96, 3\]"),
            (np.stack([image, image]) / 255, r"image 0 is float64 \[64, 96, 3\]"),
            (np.zeros((2, *SIZE, 4), np.uint8), r"image 0 is uint8 \[64, 96, 4\]"),
            ([image, image[..., 0]], r"image 1 is uint8 \[64, 96\]"),
            ([image, None], "image 1 is a NoneType: pass a file, a Pillow image or uint8 pixels"),
            (7, "a int is no image: pass a file"),
        ]
        for given, message in refused:
            with pytest.raises(ContractError, match=message):
                net.run(given)  # type: ignore[call-overload]
        with pytest.raises(DataError, match=r"text\.png is not an image"):
            net.run([image, tmp_path / "text.png"])


class TestConfidence:
    @COMPILED
    @pytest.mark.parametrize(
        ("grid", "classes", "size"),
        [
            ((3, 5), 2, (12, 20)),
            ((7, 6), 17, (50, 9)),
            ((4, 4), 150, (4, 4)),
            ((1, 1), 1, (3, 2)),
            ((9, 70), 5, (20, 300)),
        ],
    )
    def test_is_the_softmax_of_the_upsampled_logits(
        self, grid: tuple[int, int], classes: int, size: tuple[int, int]
    ) -> None:
        logits = np.random.default_rng(classes).normal(0, 4, (2, *grid, classes)).astype(np.float32)
        planes = upsampled(logits, size).astype(np.float64)
        shares = np.exp(planes - planes.max(1, keepdims=True))
        want = (shares / shares.sum(1, keepdims=True)).max(1)
        for threads in (1, 2):
            found = native.confidence(logits, size, threads)
            assert (found.dtype, found.shape) == (np.float32, (2, *size))
            np.testing.assert_allclose(found, want, atol=5 * TOLERANCE)  # where 300 columns lie is rounded to float32
        for one, expected in zip(planes.astype(np.float32), want, strict=True):
            np.testing.assert_allclose(softmax_of_winner(one), expected, atol=TOLERANCE)

    @COMPILED
    def test_is_of_logits_alone(self) -> None:
        with pytest.raises(ContractError, match=r"logits are float64 \[1, 2, 2, 3\]"):
            native.confidence(np.zeros((1, 2, 2, 3)), (4, 4), 1)

    @COMPILED
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("batch", [3, DYNAMIC])
    def test_is_what_a_bundle_of_scores_says(self, open_built: Open, engine: str, batch: int) -> None:
        """Read after later runs, whose logits are others, and in the sizes of images that are not the bundle's."""
        by_graph = open_built(engine, output="scores")
        by_logits = open_built(engine, output="logits")
        on_host = open_built(engine, batch=batch)
        assert on_host.bundle.manifest.engine.class_map == "host"
        images = [scenes.scene(i, SIZE if i % 2 else (70, 61))[0] for i in range(5)]
        found = [by_graph.run(images), by_logits.run(images), on_host.run(images), [on_host.run(i) for i in images]]
        for image, (want, *others) in zip(images, zip(*found, strict=True), strict=True):
            assert want.confidence.shape == image.shape[:2]
            assert 1 / len(want.labels) <= want.confidence.min() < want.confidence.max() <= 1
            for other in others:
                assert other.confidence.dtype == np.float32
                np.testing.assert_allclose(other.confidence, want.confidence, atol=TOLERANCE)
                assert other.confidence is other.confidence, "computed once"

    def test_without_logits_the_build_that_has_it_is_named(self, plain: Bundle) -> None:
        with segexport.open(plain) as net:
            found = net.run(scenes.scene(0, SIZE)[0])
        with pytest.raises(ContractError, match="gives class ids alone: build it with --output scores"):
            _ = found.confidence


class TestWhatAResultGives:
    def test_a_class_map_is_no_classifiers(self, net: Segmenter) -> None:
        found = net.run(scenes.scene(0, SIZE)[0])
        assert found.decision is found.mask
        for name, remedy in {
            "classes": "read mask",
            "scores": "gives no scores: read confidence",
            "logits": "gives no logits: build it with --output logits",
        }.items():
            with pytest.raises(ContractError, match=remedy):
                getattr(found, name)

    def test_a_classifier_has_no_class_map(self, classifier_bundle: Bundle, tmp_path: Path) -> None:
        images = [scenes.scene(i, SIZE)[0] for i in range(2)]
        with segexport.open(classifier_bundle) as net:
            found, other = net.run(images)
            np.testing.assert_array_equal(net.run(images[1]).classes, other.classes)
        assert found.decision is found.classes
        assert found.scores.shape == found.classes.shape == (5,)
        for call in (lambda: found.mask, lambda: found.confidence, found.overlay):
            with pytest.raises(ContractError, match="has no class map: read classes"):
                call()
        with pytest.raises(ContractError, match="build it with --output logits"):
            _ = found.logits
        (path,) = found.save(tmp_path / "scene")
        assert path == tmp_path / "scene_classes.json"
        assert [row["id"] for row in json.loads(path.read_text())] == found.classes.tolist()


class TestOverlay:
    @pytest.mark.parametrize("built", ["rgb", "bgr"])
    def test_is_rgb_whatever_the_image_was(self, open_built: Open, tmp_path: Path, built: str) -> None:
        net = open_built(channel_order=built)
        rgb = scenes.scene(3, (50, 70))[0]
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        Image.fromarray(rgb).save(tmp_path / "scene.png")
        results: list[Prediction] = [net.run(tmp_path / "scene.png"), net.run(bgr, channel_order="bgr")]
        want = overlay(rgb, results[0].mask, net.labels.palette)
        assert (want != want[..., ::-1]).any()
        for found in results:
            np.testing.assert_array_equal(found.overlay(), want)
            np.testing.assert_array_equal(found.overlay(rgb), want)
            np.testing.assert_array_equal(found.overlay(channel_order="bgr"), want[..., ::-1])
            np.testing.assert_array_equal(found.overlay(bgr, channel_order="bgr"), want[..., ::-1])
            np.testing.assert_array_equal(found.overlay(opacity=0), rgb)

    def test_another_image_is_refused(self, net: Segmenter) -> None:
        found = net.run(scenes.scene(0, (50, 70))[0])
        with pytest.raises(ContractError, match="the image is 64x96, the class map 50x70: pass the image"):
            found.overlay(scenes.scene(0, SIZE)[0])
        with pytest.raises(ContractError, match="the image is float64"):
            found.overlay(np.zeros((50, 70, 3)))  # type: ignore[arg-type]


class TestSave:
    def test_writes_what_predict_writes(self, net: Segmenter, tmp_path: Path) -> None:
        from segexport.predict import predict_files

        Image.fromarray(scenes.scene(0, (50, 70))[0]).save(tmp_path / "street.png")
        written = net.run(tmp_path / "street.png").save(tmp_path / "made" / "here" / "street")
        assert [path.name for path in written] == ["street_mask.png", "street_overlay.png"]
        by_command = list(predict_files(net.bundle.folder, [tmp_path / "street.png"], tmp_path / "out"))
        assert [path.read_bytes() for path in written] == [path.read_bytes() for path in by_command]
        assert sorted(written) == sorted((tmp_path / "made" / "here").iterdir())

    def test_files_that_exist_stay_unless_told(self, net: Segmenter, tmp_path: Path) -> None:
        found = net.run(scenes.scene(0, SIZE)[0])
        (tmp_path / "street_overlay.png").write_text("mine")
        with pytest.raises(OutputError, match=r"street_overlay\.png exists: pass overwrite=True"):
            found.save(tmp_path / "street")
        assert [path.name for path in tmp_path.iterdir()] == ["street_overlay.png"], "and nothing is half-written"
        found.save(str(tmp_path / "street"), overwrite=True)
        with Image.open(tmp_path / "street_overlay.png") as image:
            np.testing.assert_array_equal(np.asarray(image), found.overlay())

    def test_a_folder_or_one_files_name_is_refused(self, net: Segmenter, tmp_path: Path) -> None:
        found = net.run(scenes.scene(0, SIZE)[0])
        with pytest.raises(OutputError, match=f"{tmp_path} is a folder: pass a name in it"):
            found.save(tmp_path)
        with pytest.raises(OutputError, match=r"such as street_mask\.png: pass .*street$"):
            found.save(tmp_path / "street.PNG")
        assert not list(tmp_path.iterdir())


def test_the_package_shows_its_api() -> None:
    assert dir(segexport) == sorted(segexport.__all__)
    for name in dir(segexport):
        assert getattr(segexport, name) is not None
    from segexport import errors, prediction, segmenter

    assert segexport.Prediction is prediction.Prediction
    assert segexport.open is segmenter.open_segmenter
    public = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert public <= set(segexport.__all__), "every error can be caught as segexport's"
    with pytest.raises(AttributeError, match="has no attribute 'closed'"):
        segexport.closed  # noqa: B018
