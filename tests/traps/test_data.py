"""Known traps in data sets: each is made, found, and where its fix is code, mended by running that code."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport import scenes
from segexport.errors import DataError
from segexport.palette import voc_colour_map
from segexport.spec import Labels
from segexport.traps.data import examine_data
from tests.support import layouts

ENOUGH = 20


def numbered(count: int, reduce: bool = False) -> Labels:
    return Labels(tuple(f"class {i}" for i in range(count)), voc_colour_map(count), reduce)


def good(path: Path, values=(0, 1, 2), count: int = ENOUGH) -> Path:
    """A folder without a trap for three classes."""
    return layouts.folder(path, [layouts.ids(*values)] * count)


def names(path: Path, labels: Labels | None, **options) -> list[str]:
    return [trap.name for trap in examine_data(path, labels=labels, **options)]


def found(path: Path, labels: Labels | None, name: str, **options):
    traps = [trap for trap in examine_data(path, labels=labels, **options) if trap.name == name]
    assert len(traps) == 1, names(path, labels, **options)
    assert all((traps[0].where, traps[0].detail, traps[0].why, traps[0].fix))
    return traps[0]


def run_and_swap(path: Path, code: str) -> None:
    """Run a fix that writes masks-ids beside masks, and put that in its place."""
    exec(compile(code, "fix", "exec"), {})
    shutil.rmtree(path / "masks")
    (path / "masks-ids").rename(path / "masks")


def test_good_data_have_no_traps(tmp_path: Path) -> None:
    assert names(good(tmp_path / "folder"), numbered(3)) == []
    assert names(scenes.write_dataset(tmp_path / "scenes", 20, seed=0, size=(64, 96)), numbered(10)) == []


def test_camvid_has_none_but_what_it_has(camvid: Path) -> None:
    assert names(camvid, numbered(11), split="test") == []


@pytest.mark.parametrize("build", [layouts.ade20k, layouts.cityscapes, layouts.camvid_segnet, layouts.camvid_colours])
def test_published_layouts_read_as_their_own(tmp_path: Path, build) -> None:
    path = build(tmp_path / "data")
    traps = [t.name for t in examine_data(path) if t.name != "split-overlap"]  # one picture, in every split
    assert set(traps) <= {"few-images", "absent-class"}


class TestIds:
    def test_from_one(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data", (1, 2, 3))
        trap = found(path, numbered(3), "labels-from-one")
        assert trap.severity == "error"
        assert "do_reduce_labels=True" in trap.code
        assert names(path, numbered(3, reduce=True)) == []
        run_and_swap(path, trap.code.split("# or, once and for all:\n")[1])
        assert names(path, numbered(3)) == []

    def test_from_one_without_a_label_set(self, tmp_path: Path) -> None:
        path = good(tmp_path, (1, 2, 3))
        assert found(path, None, "labels-from-one").severity == "warning"
        assert found(path, None, "no-class-names").severity == "error"

    def test_a_zero_becomes_ignored_by_the_same_code(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data", (1, 2, 3))
        code = found(path, numbered(3), "labels-from-one").code.split("# or, once and for all:\n")[1]
        layouts.write(path / "masks" / "000.png", layouts.ids(0, 1))
        exec(compile(code, "fix", "exec"), {})
        assert set(np.unique(Image.open(path / "masks-ids" / "000.png"))) == {0, 255}

    def test_one_class_more_than_the_head(self, tmp_path: Path) -> None:
        trap = found(good(tmp_path, (0, 1, 2, 3)), numbered(3), "one-class-more")
        assert "ids from 0 to 3: 4 values for 3 classes" in trap.detail

    def test_151_named_classes_against_a_head_of_150(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data")
        (path / "classes.txt").write_text("\n".join(f"class {i}" for i in range(151)))
        trap = found(path, numbered(150), "head-does-not-fit")
        assert "150 classes, the data 151" in trap.detail
        assert "do_reduce_labels" in trap.code
        (path / "classes.txt").write_text("a\nb\nc\n")
        assert found(path, numbered(150), "head-does-not-fit").code == ""

    def test_reduced_needlessly(self, tmp_path: Path) -> None:
        trap = found(good(tmp_path), numbered(3, reduce=True), "reduced-needlessly")
        assert "do_reduce_labels=False" in trap.code

    def test_ids_outside(self, tmp_path: Path) -> None:
        trap = found(good(tmp_path / "a", (0, 1, 7, 9)), numbered(3), "ids-outside")
        assert trap.detail.endswith("3 classes: 7, 9")
        path = layouts.cityscapes(tmp_path / "b", values=(7, 40))
        assert "values that Cityscapes does not define: 40" in found(path, None, "ids-outside").detail

    def test_a_checkpoint_that_counts_otherwise_than_the_layout(self, tmp_path: Path) -> None:
        path = layouts.ade20k(tmp_path / "data")
        names_ = made_names(path)
        trap = found(path, Labels(names_, voc_colour_map(150), reduce=False), "labels-disagree")
        assert trap.severity == "warning"
        assert "do_reduce_labels=True" in trap.code
        assert "labels-disagree" not in names(path, Labels(names_, voc_colour_map(150), reduce=True))
        assert found(path, numbered(150, reduce=True), "class-names-differ").severity == "warning"


class TestValues:
    def test_binary(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data", (0, 255))
        trap = found(path, numbered(2), "mask-binary-255")
        assert trap.severity == "error"
        run_and_swap(path, trap.code)
        assert names(path, numbered(2)) == []

    @pytest.mark.parametrize("values", [(0, 25, 50, 75), (0, 127, 255), (0, 85, 170, 255), (0, 28, 57, 85)])
    @pytest.mark.parametrize("known", [True, False])
    def test_scaled(self, tmp_path: Path, values: tuple[int, ...], known: bool) -> None:
        path = good(tmp_path / "data", values)
        labels = numbered(len(values)) if known else None
        run_and_swap(path, found(path, labels, "mask-scaled").code)
        assert set(np.unique(Image.open(path / "masks" / "000.png"))) == set(range(len(values)))
        assert names(path, numbered(len(values))) == []

    @pytest.mark.parametrize("values", [(0, 1, 2, 255), (0, 2, 4), (0, 5, 18)])
    def test_ids_with_gaps_are_not_scaled(self, tmp_path: Path, values: tuple[int, ...]) -> None:
        assert "mask-scaled" not in names(good(tmp_path, values), numbered(19))

    def test_jpeg(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        for file in sorted((path / "masks").iterdir()):
            Image.open(file).save(file.with_suffix(".jpg"), quality=75)
            file.unlink()
        trap = found(path, numbered(3), "mask-jpeg")
        assert "20 of 20 masks are JPEG files" in trap.detail
        assert "ids-outside" not in names(path, numbered(3))  # one trap, not what comes of it

    def test_colours(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data")
        colours = np.array(voc_colour_map(3), np.uint8)
        for file in (path / "masks").iterdir():
            layouts.write(file, colours[np.asarray(Image.open(file))])
        trap = found(path, numbered(3), "mask-coloured")
        assert "20 of 20 masks are colour images (RGB)" in trap.detail
        assert "there are 3 colours" in trap.fix
        run_and_swap(path, trap.code)
        assert names(path, numbered(3)) == []

    def test_ids_in_three_equal_channels(self, tmp_path: Path) -> None:
        path = good(tmp_path / "data")
        before = np.asarray(Image.open(path / "masks" / "000.png"))
        for file in (path / "masks").iterdir():
            layouts.write(file, np.repeat(np.asarray(Image.open(file))[..., None], 3, 2))
        run_and_swap(path, found(path, numbered(3), "mask-coloured").code)
        assert np.array_equal(np.asarray(Image.open(path / "masks" / "000.png")), before)

    def test_nothing_labelled(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        layouts.write(path / "masks" / "004.png", layouts.ids(255))
        trap = found(path, numbered(3), "mask-all-ignored")
        assert (trap.severity, "1 of 20" in trap.detail, "004.png" in trap.detail) == ("warning", True, True)
        for file in (path / "masks").iterdir():
            layouts.write(file, layouts.ids(255))
        assert found(path, numbered(3), "mask-all-ignored").severity == "error"

    def test_one_class(self, tmp_path: Path) -> None:
        assert "the value 0" in found(good(tmp_path / "a", (0,)), numbered(3), "one-class-only").detail
        apart = layouts.folder(tmp_path / "b", [layouts.ids(i % 3) for i in range(ENOUGH)])
        assert "one-class-only" not in names(apart, numbered(3))

    def test_rare_and_absent(self, tmp_path: Path) -> None:
        path = layouts.folder(tmp_path, [layouts.ids(0, 1, size=(40, 40))] * ENOUGH)
        mask = layouts.ids(0, 1, size=(40, 40))
        mask[0, 0] = 2
        layouts.write(path / "masks" / "000.png", mask)
        assert "class 2 (0.003% of the pixels, 1 images)" in found(path, numbered(4), "rare-class").detail
        assert "1 of 4 classes are in none of 20 masks: class 3" in found(path, numbered(4), "absent-class").detail


class TestFiles:
    def test_that_do_not_pair(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        (path / "masks" / "003.png").unlink()
        layouts.write(path / "masks" / "other.png", layouts.ids(0))
        trap = found(path, numbered(3), "image-without-mask")
        assert "1 of 20" in trap.detail
        assert "other.png" in found(path, numbered(3), "mask-without-image").detail
        exec(compile(trap.code, "fix", "exec"), {})
        assert "image-without-mask" not in names(path, numbered(3))

    def test_of_one_name(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        layouts.write(path / "images" / "003.jpg", layouts.picture())
        assert "have the same name" in found(path, numbered(3), "unlistable").detail

    def test_that_cannot_be_read(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        for kind in ("images", "masks"):
            file = path / kind / "007.png"
            file.write_bytes(file.read_bytes()[:50])
        assert "007.png" in found(path, numbered(3), "unreadable-image").detail
        assert "007.png" in found(path, numbered(3), "unreadable-mask").detail

    def test_of_16_bits(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        Image.fromarray(np.arange(48, dtype=np.uint16).reshape(layouts.SIZE) * 900).save(path / "images" / "001.png")
        trap = found(path, numbered(3), "image-16-bit")
        assert "1 of 20" in trap.detail
        assert "unreadable-image" not in names(path, numbered(3))

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_turned_images_whose_masks_are_not(self, tmp_path: Path, orientation: int) -> None:
        path = good(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = path / "images" / "002.png"
        Image.open(file).save(file, exif=exif)
        trap = found(path, numbered(3), "mask-not-turned")
        assert f"EXIF orientation {orientation}" in trap.detail
        assert "mask-size" not in names(path, numbered(3))
        before = np.asarray(Image.open(path / "masks" / "002.png"))
        exec(compile(trap.code, "fix", "exec"), {})
        assert names(path, numbered(3)) == []
        upright = {5: before.T, 6: np.rot90(before, -1), 7: before[::-1, ::-1].T, 8: np.rot90(before)}[orientation]
        assert np.array_equal(np.asarray(Image.open(path / "masks" / "002.png")), upright)

    def test_turned_images_whose_size_does_not_tell(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = 3
        file = path / "images" / "002.png"
        Image.open(file).save(file, exif=exif)
        trap = found(path, numbered(3), "image-turned")
        assert trap.severity == "warning"
        before = np.asarray(Image.open(path / "masks" / "002.png"))
        exec(compile(trap.code, "fix", "exec"), {})
        assert np.array_equal(np.asarray(Image.open(path / "masks" / "002.png")), before[::-1, ::-1])

    def test_of_another_size(self, tmp_path: Path) -> None:
        path = good(tmp_path)
        layouts.write(path / "masks" / "005.png", layouts.ids(0, 1, 2, size=(12, 16)))
        trap = found(path, numbered(3), "mask-size")
        assert "005.png is 12x16, its image 6x8" in trap.detail
        exec(compile(trap.code, "fix", "exec"), {})
        assert names(path, numbered(3)) == []

    def test_that_are_few(self, tmp_path: Path) -> None:
        assert "3 images to train with" in found(good(tmp_path, count=3), numbered(3), "few-images").detail

    def test_in_two_splits(self, tmp_path: Path) -> None:
        masks = [layouts.ids(0, 1, 2)] * ENOUGH
        layouts.folder(tmp_path, masks, "train", seed=0)
        layouts.folder(tmp_path, masks, "val", seed=100)
        assert names(tmp_path, numbered(3)) == []
        shutil.copy(tmp_path / "train/images/004.png", tmp_path / "val/images/009.png")
        trap = found(tmp_path, numbered(3), "split-overlap")
        assert trap.severity == "error"
        assert "1 image is in both" in trap.detail
        assert "004.png" in trap.detail
        assert names(tmp_path, numbered(3), split="val") == []
        exec(compile(trap.code, "fix", "exec"), {})
        assert "split-overlap" not in names(tmp_path, numbered(3))


def test_a_test_split_without_masks_is_no_trap(tmp_path: Path) -> None:
    masks = [layouts.ids(0, 1, 2)] * ENOUGH
    layouts.folder(tmp_path, masks, "train", seed=0)
    layouts.folder(tmp_path, masks, "test", seed=100)
    shutil.rmtree(tmp_path / "test" / "masks")
    assert names(tmp_path, numbered(3)) == []


def test_hugging_face_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = {
        split: datasets.Dataset.from_dict(
            {
                "image": [Image.fromarray(layouts.picture(seed + i)) for i in range(ENOUGH)],
                "label": [Image.fromarray(layouts.ids(1, 2, 3))] * ENOUGH,
            }
        )
        for split, seed in (("train", 0), ("test", 10))
    }
    datasets.DatasetDict(rows).save_to_disk(str(tmp_path / "saved"))
    assert sorted(names(tmp_path / "saved", numbered(3))) == ["labels-from-one", "split-overlap"]
    assert "10 images are in both" in found(tmp_path / "saved", numbered(3), "split-overlap").detail


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither images/"):
        examine_data(tmp_path)
    good(tmp_path / "data")
    with pytest.raises(DataError, match="has no split 'val'"):
        examine_data(tmp_path / "data", split="val")
    with pytest.raises(DataError, match=r"classes\.txt cannot be read"):
        examine_data(tmp_path / "data", classes=tmp_path / "classes.txt")


def test_errors_go_first(tmp_path: Path) -> None:
    path = good(tmp_path, (0, 1), count=3)
    (path / "images" / "001.png").write_bytes(b"")
    traps = examine_data(path, labels=numbered(3))
    assert [trap.severity for trap in traps] == ["error", "warning", "warning"]


def made_names(path: Path) -> tuple[str, ...]:
    from segexport.datasets.label_sets import labels_of

    return labels_of(path).names
