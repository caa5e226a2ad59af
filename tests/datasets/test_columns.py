"""Columns from a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segexport.datasets import Subset, open_data
from segexport.datasets.columns import with_columns
from segexport.errors import DataError
from segexport.palette import voc_colour_map
from segexport.spec import Labels
from tests.support import layouts

LABELS = Labels(("a", "b"), voc_colour_map(2))


@pytest.fixture
def images(tmp_path: Path):
    path = layouts.folder(tmp_path / "data", [layouts.ids(0, 1)] * 2)
    layouts.write(path / "images" / "v1.2.png", layouts.picture())
    layouts.write(path / "masks" / "v1.2.png", layouts.ids(0, 1))
    return open_data(path, LABELS)


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "columns.csv").write_text(text, encoding="utf-8")
    return tmp_path / "columns.csv"


def test_names_with_and_without_folder_and_extension(tmp_path: Path, images) -> None:
    text = '\ufeffname,city,hour\n000,"Bonn, Beuel",6\nimages/001.jpg,Köln,18\nv1.2,Aachen,\n\nother.png,Ulm,1\n'
    told = with_columns(images, table(tmp_path, text))
    assert [told.sample(i).columns for i in range(len(told))] == [
        {"city": "Bonn, Beuel", "hour": "6"},
        {"city": "Köln", "hour": "18"},
        {"city": "Aachen", "hour": ""},
    ]
    assert np.array_equal(told.sample(1).image, images.sample(1).image)
    assert told.name == images.name
    assert told.sha256() != images.sha256()
    assert with_columns(images, table(tmp_path, text.replace("Ulm", "Neu-Ulm"))).sha256() == told.sha256()
    assert with_columns(images, table(tmp_path, text.replace("18", "19"))).sha256() != told.sha256()


def test_own_columns_stay(tmp_path: Path) -> None:
    path = layouts.cityscapes(tmp_path / "data")
    labels = Labels(tuple(map(str, range(19))), voc_colour_map(19))
    told = with_columns(
        Subset(open_data(path, labels), [1], "one"), table(tmp_path, "name,weather\nlindau_000000_000019,fog\n")
    )
    assert told.sample(0).columns == {"city": "lindau", "weather": "fog"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,city\n000,a\n", r"columns\.csv has no row for 001, v1\.2: its first column"),
        ("name,city\n000,a\n001,b\nv1.2,c\n001.png,d\n", r"has two rows for 001: keep one"),
        ("name,city\n000,a\n001\n", r"has 1 fields in row 3 and 2 in its header"),
        ("name\n000\n", "is no table: write a header"),
        ("", "is no table: write a header"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, images, text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        with_columns(images, table(tmp_path, text))


def test_many_missing_names_are_counted(tmp_path: Path) -> None:
    images = open_data(layouts.folder(tmp_path / "data", [layouts.ids(0)] * 8), LABELS)
    with pytest.raises(DataError, match="no row for 000, 002, 003, 004, 005 and 2 more"):
        with_columns(images, table(tmp_path, "name,city\n001,a\n"))
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        with_columns(images, tmp_path / "nowhere.csv")
