"""Hugging Face data sets, with the real package: on disk, as a copy of a repository, and a hub that is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segexport.datasets import open_data, splits_of
from segexport.datasets.label_sets import labels_of
from segexport.datasets.summary import summarise
from segexport.errors import DataError
from segexport.spec import Labels
from tests.datasets.numbered import LABELS, class_map, picture


@pytest.fixture
def save(tmp_path: Path):
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
def test_columns(save, column: str) -> None:
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
def test_of_several_splits_validation_or_the_last(save, splits: list[str], expected: str) -> None:
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
def test_other_columns_are_named(save, columns: dict, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        open_data(save(columns), LABELS)
    assert "image and label (or annotation)" in str(caught.value)


@pytest.mark.parametrize("columns", [{"image": [picture(0)]}, {"image": [picture(0)], "label": [1]}])
def test_images_alone_where_no_masks_are_needed(save, columns: dict) -> None:
    images = open_data(save(columns), LABELS, need_masks=False)
    assert images.sample(0).mask is None
    assert len(images.sha256()) == 64


def test_an_empty_cell_is_named(save) -> None:
    images = open_data(save({"image": [picture(0)] * 2, "label": [class_map(0), None]}), LABELS)
    assert images.sample(0).mask is not None
    with pytest.raises(DataError, match=r"saved\[1\] has no label"):
        images.sample(1)


def test_ids_and_sizes_are_checked(save) -> None:
    masks = [np.full((6, 8), 7, np.uint8), np.zeros((8, 6), np.uint8)]
    images = open_data(save({"image": [picture(0)] * 2, "label": masks}), LABELS)
    with pytest.raises(DataError, match=r"saved\[0\] has label id 7"):
        images.sample(0)
    with pytest.raises(DataError, match=r"saved\[1\] is 8x6 but its image is 6x8"):
        images.sample(1)


def test_hash_knows_every_mask(save) -> None:
    columns = {"image": [picture(0)] * 2, "label": [class_map(0), class_map(1)]}
    first = open_data(save(columns, "first"), LABELS).sha256()
    again = open_data(save(columns, "again"), LABELS).sha256()
    columns["label"][1] = class_map(2)
    assert first == again != open_data(save(columns, "other"), LABELS).sha256()


def test_a_damaged_folder(save) -> None:
    folder = save({"image": [picture(0)], "label": [class_map(0)]})
    (folder / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"saved is not a data set that datasets\.load_from_disk can read"):
        open_data(folder, LABELS)


def ade_labels(count: int, reduce: bool) -> Labels:
    return Labels(tuple(map(str, range(count))), ((0, 0, 0),) * count, reduce)


def test_other_columns_become_text(save) -> None:
    datasets = pytest.importorskip("datasets")
    folder = save(
        {
            "image": [picture(0)] * 2,
            "annotation": [class_map(0), class_map(1)],
            "scene_category": [3, None],
            "city": ["Bonn", "Ulm"],
            "boxes": [[1, 2], [3]],
        }
    )
    loaded = datasets.load_from_disk(str(folder))
    loaded = loaded.cast_column("scene_category", datasets.ClassLabel(names=["airport", "bar", "church", "desert"]))
    loaded.save_to_disk(str(folder) + "-named")
    images = open_data(Path(f"{folder}-named"), LABELS)
    assert [images.sample(i).columns for i in range(2)] == [
        {"scene_category": "desert", "city": "Bonn"},
        {"scene_category": "", "city": "Ulm"},
    ]


def test_splits(save) -> None:
    folder = save({name: {"image": [picture(1)], "label": [class_map(i)]} for i, name in enumerate(("train", "test"))})
    assert splits_of(folder) == ("train", "test")
    images = open_data(folder, LABELS, split="train")
    assert images.sample(0).mask.max() == 0
    assert images.name == f"{folder} (train)"
    assert summarise(images, LABELS).classes[0].images == 1
    with pytest.raises(DataError, match="has no split 'validation': pass one of train, test"):
        open_data(folder, LABELS, split="validation")
    with pytest.raises(DataError, match=r"does not name its classes \(its masks hold the ids 1\)"):
        labels_of(folder)
    (folder / "id2label.json").write_text('{"0": "a", "1": "b"}')
    assert labels_of(folder).names == ("a", "b")


def test_scene_parse_150_is_known_to_count_from_one(save) -> None:
    datasets = pytest.importorskip("datasets")
    folder = save({"image": [picture(1)], "annotation": [np.full((6, 8), 150, np.uint8)]})
    loaded = datasets.load_from_disk(str(folder))
    loaded.info.dataset_name, loaded.info.config_name = "scene_parse_150", "scene_parsing"
    loaded.save_to_disk(f"{folder}-named")
    named = Path(f"{folder}-named")
    assert labels_of(named).names[149] == "flag"
    assert labels_of(named).reduce
    assert open_data(named, labels_of(named)).sample(0).mask.max() == 149
    with pytest.raises(DataError, match="has the 150 classes of ADE20K, but the label set has 3"):
        open_data(named, LABELS)
    # without the name the label set decides
    assert open_data(folder, ade_labels(150, reduce=True)).sample(0).mask.max() == 149
    assert open_data(folder, ade_labels(151, reduce=False)).sample(0).mask.max() == 150


def test_a_copy_of_a_repository(save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    copy = tmp_path / "copy"
    for index, split in enumerate(("train", "validation")):
        rows = datasets.load_from_disk(str(save({"pixel_values": [picture(1)], "label": [class_map(index)]}, split)))
        (copy / "data").mkdir(parents=True, exist_ok=True)
        rows.to_parquet(str(copy / "data" / f"{split}-00000-of-00001.parquet"))
    assert splits_of(copy) == ("train", "validation")
    images = open_data(copy, LABELS)
    assert np.array_equal(images.sample(0).image, picture(1))
    assert images.sample(0).mask.max() == 1
    assert images.masks.labels is LABELS


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool) -> None:
    pytest.importorskip("datasets")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    if not offline:
        try:
            socket.getaddrinfo("huggingface.co", 443)
            pytest.skip("the hub's host resolves here")
        except OSError:
            pass
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="was not reached and the local cache does not hold it") as caught:
        open_data(Path("nobody/nothing-at-all"), LABELS)
    assert "nobody/nothing-at-all is not a folder" in str(caught.value)
    assert "pass its local folder" in str(caught.value)
    assert "\n" not in str(caught.value)
