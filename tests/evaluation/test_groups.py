"""Groups: by a column, by brightness, by rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from segexport.errors import DataError
from segexport.evaluation.folder import Image
from segexport.evaluation.groups import MOST, Survey, groups_of
from segexport.evaluation.records import Record, Score

PAIRS = np.array([[0, 0, 5]], np.int64)


def images(brightness: list[float], **columns: list[str]) -> Iterator[Image]:
    for index, value in enumerate(brightness):
        row = {name: values[index] for name, values in columns.items() if values[index] is not None}
        yield Image(index, {0: Record(index, 0, (), "x", value, row)})


def members(groups, every: list[Image]) -> dict[str, list[int]]:
    return {group.name: [image.index for image in every if group.has(image)] for group in groups}


def test_brightness_is_cut_into_thirds_that_hold_every_image_once() -> None:
    every = list(images([float(v) for v in (90, 10, 50, 20, 60, 95, 15, 55, 85)]))
    found = members(groups_of(["brightness"], Survey.of(every, ["brightness"])), every)
    assert [sorted(group) for group in found.values()] == [[1, 3, 6], [2, 4, 7], [0, 5, 8]]
    assert list(found) == ["dark (below 40.0)", "middle (40.0 to 68.3)", "bright (68.3 and above)"]


def test_images_of_one_brightness_are_one_group() -> None:
    every = list(images([7.0] * 5))
    assert list(members(groups_of(["brightness"], Survey.of(every, ["brightness"])), every).values()) == [[*range(5)]]


def test_columns_and_what_has_none() -> None:
    every = list(images([1.0] * 4, city=["Bern", "Aarau", None, "Bern"], hour=["1", "", "1", "1"]))
    survey = Survey.of(every, ["city", "hour"])
    assert members(groups_of(["city"], survey), every) == {"Aarau": [1], "Bern": [0, 3], "(none)": [2]}
    assert members(groups_of(["hour"], survey), every) == {"(none)": [1], "1": [0, 2, 3]}
    with pytest.raises(DataError, match=r"no column 'town' .*they have city, hour.*--columns"):
        groups_of(["town"], survey)
    with pytest.raises(DataError, match="they have no columns"):
        groups_of(["town"], Survey.of(images([1.0]), ["town"]))


def test_a_column_of_names_is_refused() -> None:
    count = MOST + 1
    survey = Survey.of(images([1.0] * count, name=[str(i) for i in range(count)]), ["name"])
    with pytest.raises(DataError, match=f"more than {MOST} values"):
        groups_of(["name"], survey)
    fits = Survey.of(images([1.0] * MOST, name=[str(i) for i in range(MOST)]), ["name"])
    assert len(groups_of(["name"], fits)) == MOST


def test_rows_are_parts_of_every_image() -> None:
    bands = tuple(PAIRS * k for k in range(1, 5))
    groups = groups_of(["row"], Survey.of(images([1.0, 2.0]), ["row"]))
    score = Score(PAIRS, PAIRS, bands)
    assert [group.name for group in groups] == ["top", "upper middle", "lower middle", "bottom"]
    assert [int(group.pairs(score)[0, 2]) for group in groups] == [5, 10, 15, 20]
    (by_column,) = groups_of(["city"], Survey.of(images([1.0], city=["Bern"]), ["city"]))
    assert by_column.pairs(score) is score.confusion


def test_bad_images_are_counted_apart() -> None:
    survey = Survey.of([*images([1.0]), Image(4, {}, "broken")], [])
    assert (survey.images, survey.bad) == (1, [(4, "broken")])
