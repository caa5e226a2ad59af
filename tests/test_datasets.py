"""Labelled images: folders of images/ and masks/, and Hugging Face data sets on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport.datasets import open_data
from segexport.errors import DataError
from segexport.spec import Labels

LABELS = Labels(("sky", "road", "tree"), ((0, 0, 0),) * 3)


def picture(index: int) -> np.ndarray:
    return np.full((6, 8, 3), 10 * index, np.uint8)


def class_map(index: int) -> np.ndarray:
    return np.full((6, 8), index % 3, np.uint8)


def write_folder(path: Path, images: list[str], masks: list[str] | None) -> Path:
    for folder, names, draw in (("images", images, picture), ("masks", masks, class_map)):
        if names is not None:
            (path / folder).mkdir(parents=True)
        for index, name in enumerate(names or []):
            Image.fromarray(draw(index)).save(path / folder / name)
    return path


def test_pairs_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ["a.bmp", "b.PNG", "c.d.tiff"], ["a.png", "b.bmp", "c.d.png"])
    (folder / "images" / "notes.txt").write_text("not an image")
    (folder / "images" / ".b.png").write_text("not an image")
    (folder / "masks" / "without-image.png").write_bytes(b"never read")
    images = open_data(folder, LABELS)
    samples = [images.sample(i) for i in range(len(images))]
    assert [s.name for s in samples] == ["a", "b", "c.d"]
    for index, sample in enumerate(samples):
        assert np.array_equal(sample.image, picture(index))
        assert sample.mask is not None
        assert np.array_equal(sample.mask, class_map(index))


def test_labels_are_checked_and_reduced(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "b.png", "c.png"])
    reducing = open_data(folder, Labels(("one", "two"), ((0, 0, 0),) * 2, reduce=True))
    assert [np.unique(reducing.sample(i).mask).tolist() for i in range(3)] == [[255], [0], [1]]
    two = open_data(folder, Labels(("one", "two"), ((0, 0, 0),) * 2))
    with pytest.raises(DataError, match=r"masks.c\.png has label id 2, .* 2 classes have ids 0 to 1"):
        two.sample(2)


@pytest.mark.parametrize(("limit", "expected"), [(None, 3), (1, 1), (2, 2), (99, 3)])
def test_limit_takes_the_first_by_name(tmp_path: Path, limit: int | None, expected: int) -> None:
    names = ["c.png", "a.png", "b.png"]
    images = open_data(write_folder(tmp_path, names, names), LABELS, limit=limit)
    assert [images.sample(i).name for i in range(len(images))] == ["a", "b", "c"][:expected]


@pytest.mark.parametrize(
    ("images", "masks", "complaint"),
    [
        (["a.png"], None, r"holds images but no masks: put one"),
        (["a.png"], [], r"holds images but no masks: put one"),
        (["a.png", "b.png"], ["a.png"], r"images.b\.png has no mask: .*masks.b\.png is missing"),
        ([], [], r"images holds no images \(.*\.png"),
        (["a.png", "a.bmp"], ["a.png"], r"images.a\.bmp and .*images.a\.png have the same name"),
        (["a.png"], ["a.png", "a.bmp"], r"masks.a\.bmp and .*masks.a\.png have the same name"),
    ],
)
def test_folders_that_do_not_pair_are_refused(tmp_path: Path, images, masks, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        open_data(write_folder(tmp_path / "data", images, masks), LABELS)


@pytest.mark.parametrize("masks", [None, []])
def test_masks_are_optional_where_none_are_needed(tmp_path: Path, masks: list[str] | None) -> None:
    sample = open_data(write_folder(tmp_path, ["a.png"], masks), LABELS, need_masks=False).sample(0)
    assert sample.mask is None
    assert np.array_equal(sample.image, picture(0))


def test_some_masks_missing_is_an_error_even_where_none_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.png has no mask"):
        open_data(write_folder(tmp_path, ["a.png", "b.png"], ["a.png"]), LABELS, need_masks=False)


def test_what_is_no_data_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist: pass --data"):
        open_data(tmp_path / "nowhere", LABELS)
    (tmp_path / "file.png").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file.png"):
        with pytest.raises(DataError, match="holds neither images/ and masks/ nor a Hugging Face data set"):
            open_data(path, LABELS)


def test_a_folders_hash_knows_names_and_bytes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", ["a.png", "b.png"], ["a.png", "b.png"])
    first = open_data(folder, LABELS).sha256()
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert open_data(copy, LABELS).sha256() == first
    assert open_data(copy, LABELS, limit=1).sha256() != first
    mask = copy / "masks" / "b.png"
    data = bytearray(mask.read_bytes())
    data[-1] ^= 1
    mask.write_bytes(data)
    assert open_data(copy, LABELS).sha256() != first
    for kind in ("images", "masks"):
        (folder / kind / "b.png").rename(folder / kind / "c.png")
    assert open_data(folder, LABELS).sha256() != first


class TestHuggingFaceFolder:
    """`datasets.load_from_disk`, with the real package."""

    @pytest.fixture
    def save(self, tmp_path: Path):
        """Save columns (or splits of columns) with `save_to_disk`; image columns hold arrays or None."""
        datasets = pytest.importorskip("datasets")
        bars = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()

        def dataset(columns: dict):
            made = datasets.Dataset.from_dict(
                {
                    name: [Image.fromarray(v) if isinstance(v, np.ndarray) else v for v in values]
                    for name, values in columns.items()
                }
            )
            return made.cast_column("image", datasets.Image()) if "image" in columns else made

        def write(columns: dict, folder: str = "saved") -> Path:
            splits = isinstance(next(iter(columns.values())), dict)
            made = (
                datasets.DatasetDict({name: dataset(split) for name, split in columns.items()})
                if splits
                else dataset(columns)
            )
            made.save_to_disk(str(tmp_path / folder))
            return tmp_path / folder

        yield write
        if not bars:
            datasets.enable_progress_bars()

    @pytest.mark.parametrize("column", ["label", "annotation"])
    def test_columns(self, save, column: str) -> None:
        images = open_data(save({"image": [picture(i) for i in range(3)], column: [class_map(1)] * 3}), LABELS, limit=2)
        assert len(images) == 2
        sample = images.sample(1)
        assert np.array_equal(sample.image, picture(1))
        assert sample.mask is not None
        assert np.array_equal(sample.mask, class_map(1))

    @pytest.mark.parametrize(
        ("splits", "expected"),
        [(["train", "validation", "test"], "validation"), (["train", "test"], "test"), (["train"], "train")],
    )
    def test_of_several_splits_validation_or_the_last(self, save, splits: list[str], expected: str) -> None:
        folder = save({name: {"image": [picture(i)], "label": [class_map(i)]} for i, name in enumerate(splits)})
        assert np.array_equal(open_data(folder, LABELS).sample(0).image, picture(splits.index(expected)))

    @pytest.mark.parametrize(
        ("columns", "complaint"),
        [
            ({"photo": [picture(0)], "label": [class_map(0)]}, r"label \(Image\), photo \(Image\)"),
            ({"image": [picture(0)]}, r"columns image \(Image\): it needs"),
            ({"image": [picture(0)], "label": [1]}, r"label \(Value\)"),
            ({"image": [picture(0)], "label": ["sky"]}, r"label \(Value\)"),
        ],
        ids=["no image", "no label", "label is a number", "label is a text"],
    )
    def test_other_columns_are_named(self, save, columns: dict, complaint: str) -> None:
        with pytest.raises(DataError, match=complaint) as caught:
            open_data(save(columns), LABELS)
        assert "image and label (or annotation)" in str(caught.value)

    @pytest.mark.parametrize("columns", [{"image": [picture(0)]}, {"image": [picture(0)], "label": [1]}])
    def test_images_alone_where_no_masks_are_needed(self, save, columns: dict) -> None:
        images = open_data(save(columns), LABELS, need_masks=False)
        assert images.sample(0).mask is None
        assert len(images.sha256()) == 64

    def test_an_empty_cell_is_named(self, save) -> None:
        images = open_data(save({"image": [picture(0)] * 2, "label": [class_map(0), None]}), LABELS)
        assert images.sample(0).mask is not None
        with pytest.raises(DataError, match=r"saved\[1\] has no label"):
            images.sample(1)

    def test_ids_and_sizes_are_checked(self, save) -> None:
        masks = [np.full((6, 8), 7, np.uint8), np.zeros((8, 6), np.uint8)]
        images = open_data(save({"image": [picture(0)] * 2, "label": masks}), LABELS)
        with pytest.raises(DataError, match=r"saved\[0\] has label id 7"):
            images.sample(0)
        with pytest.raises(DataError, match=r"saved\[1\] is 8x6 but its image is 6x8"):
            images.sample(1)

    def test_hash_knows_every_mask(self, save) -> None:
        columns = {"image": [picture(0)] * 2, "label": [class_map(0), class_map(1)]}
        first = open_data(save(columns, "first"), LABELS).sha256()
        again = open_data(save(columns, "again"), LABELS).sha256()
        columns["label"][1] = class_map(2)
        assert first == again != open_data(save(columns, "other"), LABELS).sha256()

    def test_a_damaged_folder(self, save) -> None:
        folder = save({"image": [picture(0)], "label": [class_map(0)]})
        (folder / "state.json").write_text("{")
        with pytest.raises(DataError, match=r"saved is not a data set that datasets\.load_from_disk can read"):
            open_data(folder, LABELS)
