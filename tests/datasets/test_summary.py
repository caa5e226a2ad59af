"""What is said of a data set before anything uses it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from segexport.datasets import Subset, open_data
from segexport.datasets.label_sets import labels_of
from segexport.datasets.summary import SHOWN, summarise
from segexport.report import data as report
from segexport.spec import Labels, to_json
from tests.support import layouts

LABELS = Labels(("road", "tree", "car"), ((0, 0, 0),) * 3)


def said(found) -> str:
    return "\n".join(report.lines(found))


def test_shares_count_every_pixel_once(tmp_path: Path) -> None:
    masks = [np.random.default_rng(i).choice(np.array([0, 1, 255], np.uint8), (5 + i, 9)) for i in range(4)]
    found = summarise(open_data(layouts.folder(tmp_path, masks), LABELS), LABELS)
    pixels = np.bincount(np.concatenate([m.ravel() for m in masks]), minlength=256)
    labelled = pixels[0] + pixels[1]
    assert [c.pixels for c in found.classes] == [pixels[0], pixels[1], 0]
    assert [c.share for c in found.classes] == [pixels[0] / labelled, pixels[1] / labelled, 0]
    assert [c.images for c in found.classes] == [4, 4, 0]
    assert found.unlabelled_share == pixels[255] / pixels.sum()
    assert [(s.height, s.width, s.images) for s in found.sizes] == [(5 + i, 9, 1) for i in range(4)]
    assert found.absent == ("car",)
    assert not found.problems
    assert not found.outside
    assert json.loads(json.dumps(to_json(found)))["classes"][1]["name"] == "tree"
    assert "in no mask: car" in said(found)


def test_reducing_and_layouts_are_counted_as_they_are_read(tmp_path: Path) -> None:
    reducing = Labels(("road", "tree"), ((0, 0, 0),) * 2, reduce=True)
    images = open_data(layouts.folder(tmp_path / "plain", [layouts.ids(0, 1, 2)]), reducing)
    read = images.sample(0).mask
    found = summarise(images, reducing)
    assert [c.pixels for c in found.classes] == [(read == 0).sum(), (read == 1).sum()]
    for build in (layouts.cityscapes, layouts.camvid_colours, layouts.panoptic, layouts.ade20k):
        path = build(tmp_path / build.__name__)
        labels = labels_of(path)
        images = open_data(path, labels)
        counts = sum(np.bincount(images.sample(i).mask.ravel(), minlength=256) for i in range(len(images)))
        found = summarise(images, labels)
        assert [c.pixels for c in found.classes] == counts[: len(labels)].tolist()
        assert found.unlabelled_share == counts[255] / counts.sum()


def test_bad_files_are_counted_and_do_not_stop_it(tmp_path: Path) -> None:
    masks = [
        layouts.ids(0, 1),
        layouts.ids(255),
        layouts.ids(2),
        layouts.ids(0, 7, 200),
        layouts.ids(0, 1),
        layouts.ids(0, 1),
    ]
    path = layouts.folder(tmp_path, masks)
    cut = path / "images" / "004.png"
    cut.write_bytes(cut.read_bytes()[:60])
    layouts.write(path / "masks" / "005.png", layouts.ids(0, 1, size=(8, 6)))
    layouts.write(path / "images" / "006.png", layouts.picture()[..., 0])
    layouts.write(path / "masks" / "006.png", layouts.picture())
    found = summarise(open_data(path, LABELS), LABELS)
    assert {one.what: one.images for one in found.problems} == {
        "unreadable image": 1,
        "unreadable mask": 1,
        "mask of another size": 1,
        "all ignored": 1,
        "one class only": 1,
        "not RGB": 1,
    }
    examples = {one.what: one.examples[0] for one in found.problems}
    assert str(cut) in examples["unreadable image"]
    assert "005.png is 8x6, its image 6x8" in examples["mask of another size"]
    assert "is a colour image" in examples["unreadable mask"]
    assert {(o.value, o.images) for o in found.outside} == {("7", 1), ("200", 1)}
    assert found.outside_share > 0
    text = said(found)
    for part in ("7 images", "values ", "1 image has no labelled pixel", "1 image shows one class only", "is not RGB"):
        assert part in text


def test_examples_are_bounded(tmp_path: Path) -> None:
    found = summarise(open_data(layouts.folder(tmp_path, [layouts.ids(255)] * 9), LABELS), LABELS)
    (one,) = found.problems
    assert (one.images, len(one.examples)) == (9, SHOWN)
    assert "9 images have no labelled pixel" in said(found)
    assert [c.share for c in found.classes] == [0, 0, 0]


def test_of_many_images_some_are_drawn(tmp_path: Path) -> None:
    images = open_data(layouts.folder(tmp_path, [layouts.ids(i % 3) for i in range(12)]), LABELS)
    seen: list[tuple[int, int]] = []
    few = summarise(images, LABELS, most=5, progress=lambda done, total: seen.append((done, total)))
    assert (few.images, few.examined, seen[-1], len(seen)) == (12, 5, (5, 5), 5)
    assert few == summarise(images, LABELS, most=5)
    assert "12 images, of which 5 were looked at (drawn with seed 0)" in said(few)
    assert few.classes != summarise(images, LABELS).classes


def test_images_without_masks_and_subsets(tmp_path: Path) -> None:
    for index in range(3):
        layouts.write(tmp_path / f"{index}.png", layouts.picture(index))
    images = open_data(tmp_path, LABELS, need_masks=False)
    found = summarise(Subset(images, [0, 2], "two"), LABELS)
    assert found.images == 2
    assert [(one.what, one.images) for one in found.problems] == [("no mask", 2)]


def test_drawn_images_are_refused() -> None:
    from segexport.calibration.sources import GeneratedScenes

    with pytest.raises(TypeError, match="generated scenes are not images read from files"):
        summarise(GeneratedScenes((32, 32)), LABELS)


def test_camvid_as_a_table(camvid: Path) -> None:
    from segexport.data import read_json

    labels = Labels(tuple(read_json("palettes.json")["camvid"]["colours"]), ((0, 0, 0),) * 11)
    found = summarise(open_data(camvid, labels, split="test"), labels)
    assert [(s.height, s.width, s.images) for s in found.sizes] == [(360, 480, 62)]
    assert sum(c.share for c in found.classes) == pytest.approx(1)
    assert not found.problems
    console = Console(width=80)
    with console.capture() as captured:
        console.print(report.table(found))
    road = next(line.split() for line in captured.get().splitlines() if "Road" in line)
    assert road == ["3", "Road", f"{100 * found.classes[3].share:.2f}", "62"]
