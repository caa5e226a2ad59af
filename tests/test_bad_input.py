"""Bad input on the command line: exit code 2, one line that says what and what to do, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segexport
from segexport.bundle import MANIFEST, Bundle
from segexport.scenes import LABELS
from tests.support.checkpoints import SIZE, save_checkpoint
from tests.support.cli import RunCli, assert_refused, everything

IMAGE = np.full((*SIZE, 3), 90, np.uint8)
MASK = np.zeros(SIZE, np.uint8)


def write_data(folder: Path, masks: list[np.ndarray] | None, image: np.ndarray = IMAGE) -> Path:
    (folder / "images").mkdir(parents=True)
    for index in range(len(masks or [None])):
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
    for index, mask in enumerate(masks or []):
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


def damage(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, good and bad."""
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(IMAGE).save(folder / "good.png")
    Image.fromarray(IMAGE).save(folder / "good.jpg")
    Image.fromarray(MASK.astype(np.uint16)).save(folder / "deep.png")
    (folder / "text.png").write_text("This is no picture.")
    (folder / "half.png").write_bytes((folder / "good.png").read_bytes()[:70])
    (folder / "folder.png").mkdir()
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of other weights."""
    folder = tmp_path_factory.mktemp("other")
    checkpoint = save_checkpoint(folder / "checkpoint", decoder_hidden_size=24)
    return segexport.build(checkpoint, folder / "other", engine="onnxruntime", size=SIZE)


@pytest.mark.bundle
class TestPredict:
    @pytest.mark.parametrize(
        ("names", "complaint"),
        [
            (["text.png"], r"text\.png is not an image Pillow can read"),
            (["half.png"], r"half\.png .*cannot be decoded"),
            (["deep.png"], r"deep\.png has 16 bits or more a channel: convert"),
            (["nowhere.png"], r"nowhere\.png does not exist"),
            (["folder.png"], r"folder\.png is a folder: pass image files"),
            (["good.png", "nowhere.png"], r"nowhere\.png does not exist"),
            (["good.png", "good.jpg"], r"good\.png and .*good\.jpg would write the same files"),
        ],
    )
    def test_images(self, run_cli: RunCli, bundle: Bundle, images: Path, tmp_path: Path, names, complaint) -> None:
        paths = [images / name for name in names]
        assert_refused(run_cli("predict", bundle.folder, *paths, "--out", tmp_path / "out"), complaint)
        assert everything(tmp_path) == {}

    def test_images_before_the_bad_one_are_whole(
        self, run_cli: RunCli, bundle: Bundle, images: Path, tmp_path: Path
    ) -> None:
        outcome = run_cli("predict", bundle.folder, images / "good.png", images / "deep.png", "--out", tmp_path)
        assert outcome.code == 2
        assert outcome.err.startswith("error: ")
        assert len(outcome.err.splitlines()) == 1
        assert set(everything(tmp_path)) == {"good_mask.png", "good_overlay.png"}
        with Image.open(tmp_path / "good_overlay.png") as image:
            image.load()

    @pytest.mark.parametrize("name", ["good_mask.png", "good_overlay.png"])
    def test_existing_output(self, run_cli: RunCli, bundle: Bundle, images: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"old")
        outcome = run_cli("predict", bundle.folder, images / "good.png", "--out", tmp_path)
        assert_refused(outcome, rf"{name} exists: pass --overwrite")
        assert everything(tmp_path) == {name: b"old"}
        again = run_cli("predict", bundle.folder, images / "good.png", "--out", tmp_path, "--overwrite")
        assert (again.code, again.err) == (0, "")
        assert everything(tmp_path)[name] != b"old"

    def test_output_is_a_file(self, run_cli: RunCli, bundle: Bundle, images: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"old")
        outcome = run_cli("predict", bundle.folder, images / "good.png", "--out", tmp_path / "out")
        assert_refused(outcome, "out is a file: pass a folder as --out")
        assert everything(tmp_path) == {"out": b"old"}


@pytest.mark.bundle
class TestDamagedBundle:
    @pytest.fixture
    def damaged(self, bundle: Bundle, tmp_path: Path) -> Path:
        shutil.copytree(bundle.folder, tmp_path / "damaged")
        damage(tmp_path / "damaged" / "model.onnx")
        return tmp_path / "damaged"

    @pytest.mark.parametrize("command", ["predict", "selftest", "bench", "bench beside a good one", "build"])
    def test_no_command_uses_it(
        self, run_cli: RunCli, damaged: Path, bundle: Bundle, images: Path, data: Path, tmp_path: Path, command: str
    ) -> None:
        out = tmp_path / "out"
        arguments = {
            "predict": ["predict", damaged, images / "good.png", "--out", out],
            "selftest": ["selftest", damaged],
            "bench": ["bench", damaged, "--data", data, "--json", out],
            "bench beside a good one": ["bench", bundle.folder, damaged, "--data", data, "--json", out],
            "build": ["build", "--from-bundle", damaged, "--out", out],
        }[command]
        before = everything(tmp_path)
        assert_refused(run_cli(*arguments), r"damaged/model\.onnx is not the file that was built")
        assert everything(tmp_path) == before

    def test_no_bundle_at_all(self, run_cli: RunCli, images: Path, tmp_path: Path) -> None:
        outcome = run_cli("predict", images, images / "good.png", "--out", tmp_path / "out")
        assert_refused(outcome, "is not a bundle")
        assert everything(tmp_path) == {}


BAD_DATA = {
    "mask of another size": ([MASK.T], rf"0\.png is {SIZE[1]}x{SIZE[0]} but its image is {SIZE[0]}x{SIZE[1]}"),
    "label outside": ([MASK + len(LABELS)], rf"has label id {len(LABELS)}, .* classes have ids 0 to"),
    "label outside, later": ([MASK, MASK + 77], r"1\.png has label id 77"),
    "coloured mask": ([IMAGE], r"0\.png is a colour image"),
}


@pytest.mark.bundle
class TestBench:
    @pytest.mark.parametrize("case", BAD_DATA)
    def test_data(self, run_cli: RunCli, bundle: Bundle, tmp_path: Path, case: str) -> None:
        masks, complaint = BAD_DATA[case]
        data = write_data(tmp_path / "data", masks)
        before = everything(tmp_path)
        figures = ("--json", tmp_path / "figures.json", "--markdown", tmp_path / "table.md")
        assert_refused(run_cli("bench", bundle.folder, "--data", data, *figures, "--no-reference"), complaint)
        assert everything(tmp_path) == before

    def test_no_such_data(self, run_cli: RunCli, bundle: Bundle, tmp_path: Path) -> None:
        assert_refused(run_cli("bench", bundle.folder, "--data", tmp_path / "nowhere"), "nowhere does not exist")
        assert_refused(run_cli("bench", bundle.folder, "--data", tmp_path), "holds neither images/ and masks/ nor")

    @pytest.mark.parametrize("option", ["--json", "--markdown", "--reference"])
    def test_what_is_for_one_checkpoint(
        self, run_cli: RunCli, bundle: Bundle, other: Bundle, data: Path, tmp_path: Path, option: str
    ) -> None:
        outcome = run_cli("bench", bundle.folder, other.folder, "--data", data, option, tmp_path / "figures")
        assert_refused(outcome, f"{option} is for the bundles of one checkpoint, and these are of ")
        assert everything(tmp_path) == {}

    def test_options_that_exclude_each_other(self, run_cli: RunCli, bundle: Bundle) -> None:
        assert_refused(run_cli("bench", bundle.folder, "--reference", "b0", "--no-reference"), "exclude each other")
        assert_refused(run_cli("bench", bundle.folder, "--explain"), "pass --data too")

    def test_reference_of_other_weights(self, run_cli: RunCli, bundle: Bundle, other: Bundle, data: Path) -> None:
        reference = other.manifest.source.id
        outcome = run_cli("bench", bundle.folder, "--data", data, "--reference", reference)
        assert_refused(outcome, rf"{reference} has other weights than the bundle was built from: .*; pass --reference")

    def test_missing_reference(self, run_cli: RunCli, bundle: Bundle, data: Path, tmp_path: Path) -> None:
        """The checkpoint a bundle was built from has moved since: PyTorch is left out, said in a line; one that is
        named must be there.
        """
        moved = Path(shutil.copytree(bundle.folder, tmp_path / "moved"))
        manifest = json.loads((moved / MANIFEST).read_text())
        manifest["source"]["id"] = str(tmp_path / "gone")
        (moved / MANIFEST).write_text(json.dumps(manifest))
        sums = moved / "SHA256SUMS"
        digest = hashlib.sha256((moved / MANIFEST).read_bytes()).hexdigest()
        sums.write_text(re.sub(rf"\w+(?=  {MANIFEST})", digest, sums.read_text()))
        left_out = run_cli("bench", moved, "--data", data)
        assert left_out.code == 0, left_out.err
        assert re.search(r"PyTorch takes no part: .*gone.*pass --reference CHECKPOINT", left_out.out)
        figures = ("--json", tmp_path / "figures.json")
        outcome = run_cli("bench", bundle.folder, "--data", data, "--reference", tmp_path / "gone", *figures)
        assert_refused(outcome, r"checkpoint cannot be had .*gone.* pass --reference .*or --no-reference")
        assert not (tmp_path / "figures.json").exists()


def another_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def half_the_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fewer_labels(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "1": "b"}}))


def missing_weights(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["decode_head.linear_fuse.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


BAD_OPTIONS = {
    "--size abc": "'abc' is not a size: write HEIGHTxWIDTH",
    "--size 64x": "'64x' is not a size",
    "--size 64x64x3": "'64x64x3' is not a size",
    "--size -64x64": "'-64x64' is not a size",
    "--size 16x16": "height 16 cannot be served: give a --size between 32x32 and",
    "--size 64x99999": "width 99999 cannot be served",
    "--batch 0": "batch 0 cannot be served",
    "--batch many": "'many' is no batch: pass --batch with a number, or 'dynamic'",
    "--batch -2": "'-2' is no batch",
    "--mask-size abc": "'abc' is not a size",
    "--mask-size 0x0": "mask size 0x0 is empty",
    "--output topk": "a segmentation checkpoint has no topk: pass --output mask, scores or logits",
    "--from-bundle somewhere": "--model CHECKPOINT, or --from-bundle DIR, and not both",
}


class TestBuild:
    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (another_model, "not a SegFormer"),
            (half_the_weights, r"model\.safetensors is truncated or damaged"),
            (fewer_labels, "head has .* outputs but id2label names 2 classes"),
            (missing_weights, "lacks 1 weights"),
        ],
    )
    @pytest.mark.parametrize("exists", [False, True])
    def test_checkpoints(self, run_cli: RunCli, checkpoint: Path, tmp_path: Path, change, complaint, exists) -> None:
        folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
        change(folder)
        if exists:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / MANIFEST).write_text("old")
        before = everything(tmp_path)
        assert_refused(run_cli("build", "--model", folder, "--out", tmp_path / "out", "--overwrite"), complaint)
        assert everything(tmp_path) == before

    @pytest.mark.parametrize("option", BAD_OPTIONS)
    def test_options(self, run_cli: RunCli, checkpoint: Path, tmp_path: Path, option: str) -> None:
        outcome = run_cli("build", "--model", checkpoint, "--out", tmp_path / "out", *option.split())
        assert_refused(outcome, re.escape(BAD_OPTIONS[option]))
        assert everything(tmp_path) == {}

    @pytest.mark.parametrize("output", ["mask", "scores"])
    def test_a_classifier_has_no_masks(self, run_cli: RunCli, classifier: Path, tmp_path: Path, output: str) -> None:
        outcome = run_cli("build", "--model", classifier, "--out", tmp_path / "out", "--output", output)
        assert_refused(outcome, f"an image classifier has no {output}: pass --output topk or logits")
        assert everything(tmp_path) == {}

    def test_more_classes_than_a_mask_holds(self, run_cli: RunCli, tmp_path: Path) -> None:
        folder = save_checkpoint(tmp_path / "checkpoint", classes=256)
        outcome = run_cli("build", "--model", folder, "--out", tmp_path / "out")
        assert_refused(outcome, "256 classes do not fit a uint8 mask: segexport serves at most 255")
        assert {p.name for p in tmp_path.iterdir()} == {"checkpoint"}

    def test_nothing_to_build_from(self, run_cli: RunCli, tmp_path: Path) -> None:
        outcome = run_cli("build", "--out", tmp_path / "out")
        assert_refused(outcome, "name what to build from: --model CHECKPOINT, or --from-bundle DIR")
        assert everything(tmp_path) == {}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_existing_output(self, run_cli: RunCli, checkpoint: Path, tmp_path: Path, overwrite: bool) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "photo.jpg" if overwrite else tmp_path / "out" / MANIFEST).write_bytes(b"dear")
        before = everything(tmp_path)
        flag = ["--overwrite"] if overwrite else []
        complaint = "is no bundle, so --overwrite leaves it alone" if overwrite else "pass --overwrite to replace it"
        assert_refused(run_cli("build", "--model", checkpoint, "--out", tmp_path / "out", *flag), complaint)
        assert everything(tmp_path) == before
