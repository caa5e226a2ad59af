"""Data sets as they are published: the splits they have, the classes they imply, the ids of their masks."""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from segexport.aliases import aliases
from segexport.data import read_json
from segexport.datasets import Subset, open_data, splits_of
from segexport.datasets.label_sets import labels_of
from segexport.datasets.numbering import LabelsDisagree
from segexport.errors import DataError
from segexport.palette import palette_for
from segexport.spec import Labels
from tests.support import layouts


def label_set(*names: str, reduce: bool = False) -> Labels:
    return Labels(names, palette_for(names), reduce)


def numbered(count: int, reduce: bool = False) -> Labels:
    return label_set(*(f"LABEL_{i}" for i in range(count)), reduce=reduce)


def only_mask(path: Path, labels: Labels | None = None, **options) -> list[int]:
    """The ids of the first mask's stripes."""
    sample = open_data(path, labels or labels_of(path), **options).sample(0)
    assert np.array_equal(sample.image.shape[:2], layouts.SIZE)
    return sample.mask[0, ::2].tolist() + sample.mask[1, ::2].tolist()


@pytest.mark.parametrize(
    ("build", "splits", "count", "expected"),
    [
        (layouts.cityscapes, ("train", "val"), 19, [0, 1, 13, 255, 18]),
        (layouts.ade20k, ("training", "validation"), 150, [255, 0, 149]),
        (layouts.camvid_segnet, ("train", "val", "test"), 11, [0, 10, 255]),
        (layouts.camvid_colours, (), 4, [3, 255, 2, 1, 0]),
        (layouts.camvid_fastai, ("train", "valid"), 3, [0, 1, 255, 2]),
        (layouts.coco_stuff, ("train2017", "val2017"), 171, [0, 10, 11, 170, 255]),
        (layouts.panoptic, ("val2017",), 2, [255, 1, 0]),
    ],
)
def test_published_layouts(tmp_path: Path, build, splits: tuple[str, ...], count: int, expected: list[int]) -> None:
    path = build(tmp_path / "data")
    assert splits_of(path) == splits
    labels = labels_of(path)
    assert len(labels) == len(labels.palette) == count
    assert only_mask(path)[: len(expected)] == expected
    images = open_data(path, labels)
    assert len(images.sha256()) == 64
    assert images.name == (f"{path} ({splits[-2 if 'test' in splits else -1]})" if splits else str(path))


class TestCityscapes:
    def test_every_labelled_id_is_the_training_id_of_cityscapesscripts(self) -> None:
        from segexport.datasets.cityscapes import numbering

        # cityscapesScripts, helpers/labels.py: (id, trainId) of the 19 classes
        published = {
            value: index
            for index, value in enumerate([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])
        }
        labels = checkpoint_labels("b0-cityscapes")
        table = numbering().table(labels, "")
        assert {value: table[value] for value in range(34)} == {v: published.get(v, 255) for v in range(34)}
        assert numbering().names == labels.names

    def test_city_is_a_column_and_names_are_short(self, tmp_path: Path) -> None:
        images = open_data(layouts.cityscapes(tmp_path), label_set(*names_of("cityscapes")), split="val")
        assert [(s.name, s.columns) for s in map(images.sample, range(2))] == [
            ("bochum_000000_000019", {"city": "bochum"}),
            ("lindau_000000_000019", {"city": "lindau"}),
        ]
        assert Subset(images, [1], "one").name_of(0) == "lindau_000000_000019"

    def test_masks_written_with_training_ids(self, tmp_path: Path) -> None:
        path = layouts.cityscapes(tmp_path, "labelTrainIds", (0, 1, 18, 255))
        assert only_mask(path)[:4] == [0, 1, 18, 255]
        assert labels_of(path).names == names_of("cityscapes")

    def test_a_value_that_is_no_id_is_named(self, tmp_path: Path) -> None:
        path = layouts.cityscapes(tmp_path, values=(7, 40))
        with pytest.raises(DataError, match=r"labelIds\.png has the value 40, which Cityscapes does not define"):
            only_mask(path)

    def test_a_missing_mask_is_named_where_it_should_be(self, tmp_path: Path) -> None:
        path = layouts.cityscapes(tmp_path)
        (path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").unlink()
        with pytest.raises(DataError, match=r"lindau_000000_000019_gtFine_labelIds\.png is missing"):
            open_data(path, labels_of(path))

    def test_one_splits_folder(self, tmp_path: Path) -> None:
        path = layouts.cityscapes(tmp_path) / "leftImg8bit" / "train"
        images = open_data(path, label_set(*names_of("cityscapes")))
        assert [images.name_of(i) for i in range(len(images))] == ["aachen_000000_000019"]
        assert splits_of(path) == ()
        assert labels_of(path).names == names_of("cityscapes")

    def test_other_classes_are_refused_and_left_out_where_no_masks_are_needed(self, tmp_path: Path) -> None:
        path = layouts.cityscapes(tmp_path)
        with pytest.raises(DataError, match=r"has the 19 classes of Cityscapes, but the label set has 3"):
            open_data(path, numbered(3))
        assert open_data(path, numbered(3), need_masks=False).sample(0).mask is None

    def test_the_same_names_in_another_order_are_matched_by_name(self, tmp_path: Path) -> None:
        turned = label_set(*(name.upper().replace(" ", "_") for name in reversed(names_of("cityscapes"))))
        assert only_mask(layouts.cityscapes(tmp_path), turned)[:5] == [18, 17, 5, 255, 0]

    def test_other_names_are_matched_by_order(self, tmp_path: Path) -> None:
        assert only_mask(layouts.cityscapes(tmp_path), numbered(19))[:5] == [0, 1, 13, 255, 18]


class TestADE20K:
    """The layout knows that its ids count from 1: no checkpoint shifts them."""

    def test_names_of_the_benchmark_are_those_of_its_own_table(self, tmp_path: Path) -> None:
        path = layouts.ade20k(tmp_path)
        assert labels_of(path).names[:3] == ("wall", "building", "sky")
        assert labels_of(path).reduce
        rows = "".join(f"{i + 1} \t0.1\t1\t1\tthing {i}, other name\n" for i in range(150))
        (path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + rows)
        assert labels_of(path).names[149] == "thing 149"

    def test_a_checkpoint_that_does_not_reduce_gets_the_same_ids_and_a_warning(self, tmp_path: Path) -> None:
        path = layouts.ade20k(tmp_path)
        with pytest.warns(LabelsDisagree, match=r"does not reduce labels.*from 1 \(0 is unlabelled\)"):
            assert only_mask(path, numbered(150))[:3] == [255, 0, 149]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert only_mask(path, numbered(150, reduce=True))[:3] == [255, 0, 149]

    def test_a_checkpoint_that_reduces_where_the_layout_counts_from_zero(self, tmp_path: Path) -> None:
        with pytest.warns(LabelsDisagree, match=r"does reduce labels.*from 0"):
            assert only_mask(layouts.camvid_segnet(tmp_path), numbered(11, reduce=True))[:3] == [0, 10, 255]

    def test_a_label_set_of_151_counts_what_is_unlabelled(self, tmp_path: Path) -> None:
        assert only_mask(layouts.ade20k(tmp_path), numbered(151))[:3] == [0, 1, 150]

    def test_the_folder_of_a_split_and_names_of_its_kind(self, tmp_path: Path) -> None:
        path = layouts.ade20k(tmp_path)
        for images in (
            open_data(path / "images" / "training", labels_of(path)),
            open_data(path, labels_of(path), split="train"),
        ):
            assert images.name_of(0) == "ADE_train_00000001"
            assert images.sample(0).mask is not None


class TestCamVid:
    def test_void_may_be_a_class(self, tmp_path: Path) -> None:
        assert only_mask(layouts.camvid_segnet(tmp_path / "a"), numbered(12))[:3] == [0, 10, 11]
        assert only_mask(layouts.camvid_fastai(tmp_path / "b"), numbered(4))[:4] == [0, 1, 2, 3]

    def test_colours_are_the_palette(self, tmp_path: Path) -> None:
        labels = labels_of(layouts.camvid_colours(tmp_path / "data"))
        assert dict(zip(labels.names, labels.palette, strict=True)) == {
            name: colour for name, colour in layouts.COLOURS.items() if name != "Void"
        }

    def test_a_colour_that_is_not_in_the_table_is_named(self, tmp_path: Path) -> None:
        path = layouts.camvid_colours(tmp_path / "data")
        mask = layouts.coloured(layouts.ids(0, 1))
        mask[2, 3] = (1, 2, 3)
        layouts.write(path / "LabeledApproved_full" / "0001TP_006690_L.png", mask)
        with pytest.raises(DataError, match=r"_L\.png has the value \(1, 2, 3\), which CamVid does not define"):
            only_mask(path)

    def test_kaggles_folders(self, tmp_path: Path) -> None:
        for split in ("train", "val"):
            layouts.write(tmp_path / split / "a.png", layouts.picture())
            layouts.write(tmp_path / f"{split}_labels" / "a_L.png", layouts.coloured(layouts.ids(0, 3, 1)))
        rows = [f"{name},{r},{g},{b}" for name, (r, g, b) in layouts.COLOURS.items()]
        (tmp_path / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]))
        assert splits_of(tmp_path) == ("train", "val")
        assert only_mask(tmp_path)[:3] == [0, 255, 1]

    def test_fastais_list_of_validation_images(self, tmp_path: Path) -> None:
        path = layouts.camvid_fastai(tmp_path / "data")
        images = {split: open_data(path, numbered(3), split=split) for split in ("train", "val")}
        assert {k: [v.name_of(i) for i in range(len(v))] for k, v in images.items()} == {
            "train": ["a", "c"],
            "val": ["b"],
        }
        assert len(open_data(layouts.camvid_fastai(tmp_path / "whole", valid=False), numbered(3))) == 3

    def test_the_shared_copy_is_a_folder_with_splits_above(self, camvid: Path) -> None:
        labels = Labels(tuple(read_json("palettes.json")["camvid"]["colours"]), ((0, 0, 0),) * 11)
        assert splits_of(camvid) == ("train", "val", "test")
        images = open_data(camvid, labels, split="test")
        assert len(images) == 62
        assert images.sha256() == open_data(camvid / "test", labels).sha256()


class TestCOCO:
    @pytest.mark.parametrize("masks", ["annotations", "stuffthingmaps_trainval2017", "stuffthingmaps"])
    def test_where_stuff_maps_are_kept(self, tmp_path: Path, masks: str) -> None:
        assert only_mask(layouts.coco_stuff(tmp_path, masks))[:4] == [0, 10, 11, 170]

    def test_masks_that_mmsegmentation_converted(self, tmp_path: Path) -> None:
        path = layouts.coco_stuff(tmp_path, suffix="_labelTrainIds", values=(0, 11, 170, 255))
        assert only_mask(path)[:4] == [0, 11, 170, 255]

    def test_ids_that_are_not_in_use_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has the value 11, which COCO-Stuff does not define"):
            only_mask(layouts.coco_stuff(tmp_path, values=(0, 11)))

    def test_panoptic_segments_without_a_category(self, tmp_path: Path) -> None:
        path = layouts.panoptic(tmp_path)
        rgb = np.zeros((*layouts.SIZE, 3), np.uint8)
        rgb[0, 0] = (9, 0, 0)
        layouts.write(path / "annotations/panoptic_val2017/000000000139.png", rgb)
        with pytest.raises(DataError, match="COCO panoptic does not define"):
            only_mask(path)
        assert labels_of(path).names == ("person", "rug")


class TestSplits:
    def test_above_and_below(self, tmp_path: Path) -> None:
        for split, seed in (("train", 0), ("valid", 5)):
            layouts.folder(tmp_path / "above", [layouts.ids(0, 1)] * 2, split, seed)
            for kind in ("images", "masks"):
                shutil.copytree(tmp_path / "above" / split / kind, tmp_path / "below" / kind / split)
        for path in (tmp_path / "above", tmp_path / "below"):
            assert splits_of(path) == ("train", "valid")
            assert len(open_data(path, numbered(2), split="train", limit=1)) == 1
        hashes = [
            [open_data(path, numbered(2), split=split).sha256() for split in ("train", "val", None)]
            for path in (tmp_path / "above", tmp_path / "below")
        ]
        assert hashes[0] == hashes[1]
        assert hashes[0][1] == hashes[0][2] != hashes[0][0]
        below = tmp_path / "below" / "images" / "train"
        assert open_data(below, numbered(2)).sha256() == hashes[0][0]

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (("train", "val", "test"), "val"),
            (("test", "train"), "test"),
            (("day", "night"), "night"),
            (("train",), "train"),
        ],
    )
    def test_the_default(self, tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
        for name in names:
            layouts.folder(tmp_path, [layouts.ids(0)], name)
        assert open_data(tmp_path, numbered(2)).name == f"{tmp_path} ({expected})"

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        for name in ("train", "train-extra", "val"):
            layouts.folder(tmp_path, [layouts.ids(0)], name)
        with pytest.raises(DataError, match="has no split 'test': pass one of train, train-extra, val"):
            open_data(tmp_path, numbered(2), split="test")
        with pytest.raises(DataError, match="has no split 'training': pass one of"):
            open_data(tmp_path, numbered(2), split="training")
        with pytest.raises(DataError, match="has no splits: leave the split 'val' out"):
            open_data(tmp_path / "val", numbered(2), split="val")

    def test_a_test_split_without_masks(self, tmp_path: Path) -> None:
        layouts.folder(tmp_path, [layouts.ids(0)], "test")
        shutil.rmtree(tmp_path / "test" / "masks")
        with pytest.raises(DataError, match=r"test holds images but no masks"):
            open_data(tmp_path, numbered(2), split="test")
        assert open_data(tmp_path, numbered(2), split="test", need_masks=False).sample(0).mask is None


def test_a_data_set_travels_to_other_processes(tmp_path: Path) -> None:
    for build in (layouts.cityscapes, layouts.panoptic, layouts.camvid_colours):
        path = build(tmp_path / build.__name__)
        images = open_data(path, labels_of(path))
        there = pickle.loads(pickle.dumps(images))
        assert there.sha256() == images.sha256()
        assert np.array_equal(there.sample(0).mask, images.sample(0).mask)


def test_nothing_is_read_before_a_sample_is_asked_for(tmp_path: Path) -> None:
    path = layouts.folder(tmp_path, [layouts.ids(0), layouts.ids(1)])
    for file in (path / "images" / "001.png", path / "masks" / "001.png"):
        file.write_bytes(b"not a picture")
    images = open_data(path, numbered(2))
    assert images.sample(0).mask is not None
    with pytest.raises(DataError, match=r"001\.png is not an image"):
        images.sample(1)


def checkpoint_labels(alias: str) -> Labels:
    names = read_json("aliases.json")["label_sets"][read_json("aliases.json")["aliases"][alias]["labels"]]["names"]
    assert alias in aliases()
    return label_set(*names)


def names_of(palette: str) -> tuple[str, ...]:
    return tuple(read_json("palettes.json")[palette]["colours"])
