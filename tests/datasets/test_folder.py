"""Folders of images/ and masks/."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport.datasets import open_data
from segexport.errors import DataError
from segexport.spec import Labels
from tests.datasets.numbered import LABELS, class_map, picture


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
