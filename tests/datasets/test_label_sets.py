"""Class names, colours and counting: from a file, from the layout, from what lies beside the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segexport.datasets.class_files import read_classes
from segexport.datasets.label_sets import labels_of
from segexport.errors import DataError
from segexport.palette import palette_for, voc_colour_map
from segexport.spec import Labels
from tests.support import layouts

RED_GREEN = ((255, 0, 0), (0, 255, 0))


@pytest.mark.parametrize(
    ("name", "text", "palette", "first"),
    [
        ("plain.txt", "\ufeff# what we saw\nbig tree\n\n  road \n", None, 0),
        ("list.json", '["big tree", "road"]', None, 0),
        ("list.txt", '["big tree", "road"]', None, 0),
        ("ids.json", '{"1": "road", "0": "big tree"}', None, 0),
        ("from-one.json", '{"1": "big tree", "2": "road"}', None, 1),
        (
            "coco.json",
            '[{"name": "big tree", "color": [255, 0, 0]}, {"name": "road", "color": [0, 255, 0]}]',
            RED_GREEN,
            0,
        ),
        ("colours.txt", "255 0 0\tbig tree\n0 255 0\t\troad\n", RED_GREEN, 0),
        ("commas.txt", "255, 0, 0, big tree\n0,255,0,road\n", RED_GREEN, 0),
        ("dict.csv", "name, r, g, b\nbig tree, 255, 0, 0\nroad,0,255,0\n", RED_GREEN, 0),
        ("objects.txt", "Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t1\t1\tbig tree, oak\n2\t0.1\t1\t1\troad \n", None, 1),
    ],
)
def test_files_that_name_classes(tmp_path: Path, name: str, text: str, palette, first: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_classes(tmp_path / name)
    assert (found.names, found.palette, found.first) == (("big tree", "road"), palette, first)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.txt", "", "names no classes"),
        ("a.txt", "road\nroad\n", "names 'road' twice"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '"road"', "is neither a list of names nor"),
        ("a.json", '{"road": "0"}', "has keys that are no ids"),
        ("a.json", '{"0": "road", "2": "tree"}', "skips ids"),
        ("a.json", '{"2": "road", "3": "tree"}', "skips ids"),
        ("a.json", '["road", 3]', "has a class without a name"),
        ("a.json", '[{"name": "road", "color": [1, 2]}]', "has a colour that is not three numbers"),
        ("a.txt", "300 0 0 road", "has a colour outside 0 to 255"),
        ("a.txt", "\n".join(map(str, range(256))), "names 256 classes: a mask has ids for 255 at most"),
        ("a.txt", None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str | None, complaint: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=complaint) as caught:
        read_classes(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_names_nothing_says_which_ids_it_has(tmp_path: Path) -> None:
    path = layouts.folder(tmp_path / "data", [layouts.ids(0, 1, 2), layouts.ids(3, 255)])
    (path / "masks" / "000.png").write_bytes(b"broken")
    with pytest.raises(
        DataError, match=r"masks hold the ids 3 and 255 for ignored pixels\): write a file with one name"
    ):
        labels_of(path)
    layouts.write(path / "masks" / "000.png", layouts.ids(0, 1, 2))
    with pytest.raises(
        DataError, match=r"masks hold the ids 0 to 3 and 255.*--classes, or put it there as classes\.txt"
    ):
        labels_of(path)


@pytest.mark.parametrize("name", ["classes.txt", "codes.txt"])
def test_a_file_beside_the_data_also_of_one_split(tmp_path: Path, name: str) -> None:
    layouts.folder(tmp_path, [layouts.ids(0)], "train")
    (tmp_path / name).write_text("road\nsidewalk\n")
    expected = Labels(("road", "sidewalk"), palette_for(("road", "sidewalk")))
    assert labels_of(tmp_path) == labels_of(tmp_path / "train") == expected
    assert expected.palette != voc_colour_map(2)


def test_ids_from_one_in_a_file_reduce(tmp_path: Path) -> None:
    path = layouts.folder(tmp_path, [layouts.ids(0, 1, 2)])
    (path / "id2label.json").write_text(json.dumps({"1": "a", "2": "b"}))
    assert labels_of(path) == Labels(("a", "b"), voc_colour_map(2), reduce=True)


def test_a_classes_file_goes_before_everything(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(f"thing {i}" for i in range(150)))
    path = layouts.ade20k(tmp_path / "ade")
    assert labels_of(path, own).names[0] == "thing 0"
    assert labels_of(path, own).reduce  # how to count is still the layout's matter
    own.write_text("\n".join(f"thing {i}" for i in range(151)))
    assert not labels_of(path, own).reduce
    plain = layouts.folder(tmp_path / "plain", [layouts.ids(0)])
    (plain / "classes.txt").write_text("other\n")
    assert len(labels_of(plain, own)) == 151


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist: pass --data"):
        labels_of(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds neither images/"):
        labels_of(tmp_path)
