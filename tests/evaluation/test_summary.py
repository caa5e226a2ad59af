"""Figures from records: those of the confusion matrix of all images, whoever wrote them, with true intervals."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from segexport.data import read_json
from segexport.errors import DataError
from segexport.evaluation import tally
from segexport.evaluation.bootstrap import PERCENTILES, RESAMPLES
from segexport.evaluation.boundary import boundary_counts
from segexport.evaluation.condition import CLEAN, Condition
from segexport.evaluation.folder import EvaluationFolder, Shard, open_folder
from segexport.evaluation.metrics import ConfusionMatrix, intersection_over_union, mean_over_occurring
from segexport.evaluation.resampling import times_drawn
from segexport.evaluation.result import Evaluation
from segexport.evaluation.summary import confusions, pytorch_of, summarise
from segexport.evaluation.writer import RecordWriter
from segexport.report import evaluation as report
from tests.evaluation import handmade

CLASSES = handmade.CLASSES
CONDITIONS = (CLEAN, Condition("fog", 1), Condition("fog", 3))
SUBJECTS = (handmade.facts("torch", "pytorch"), handmade.facts("engine"))
BY = ("city", "brightness", "row")
IMAGES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> EvaluationFolder:
    made = handmade.settings(IMAGES, SUBJECTS, CONDITIONS, bands=4)
    return handmade.write(tmp_path_factory.mktemp("evaluation") / "e", made)


@pytest.fixture(scope="module")
def found(folder: EvaluationFolder) -> Evaluation:
    return summarise(folder, SUBJECTS, CLASSES, BY)


def matrix(indices, condition: int = 0, subject: int = 0, rows: slice = slice(None)) -> ConfusionMatrix:
    whole = ConfusionMatrix(len(CLASSES))
    for index in indices:
        truth, prediction = handmade.truth_and_found(index, condition, subject)
        whole.update(truth[rows], prediction[rows])
    return whole


def test_figures_are_those_of_the_confusion_matrix(found: Evaluation) -> None:
    for place, subject in enumerate(found.subjects):
        want, figures = matrix(range(IMAGES), subject=place), subject.figures
        np.testing.assert_array_equal(figures.confusion, want.counts)
        assert figures.miou.value == want.miou()
        assert figures.pixel_accuracy.value == want.pixel_accuracy()
        np.testing.assert_array_equal([c.iou.value for c in figures.classes], want.iou())
        occurs = want.counts.sum(1) > 0
        recall = np.diag(want.counts)[occurs] / want.counts.sum(1)[occurs]
        assert figures.mean_accuracy.value == pytest.approx(recall.mean(), abs=1e-15)
        edges = sum(boundary_counts(*handmade.truth_and_found(i, 0, place), len(CLASSES)) for i in range(IMAGES))
        assert figures.boundary_miou.value == mean_over_occurring(intersection_over_union(*edges))
        assert [c.pixels for c in figures.classes] == want.counts.sum(1).tolist()
    assert np.isnan(found.subjects[0].figures.classes[3].iou.value), "a class that never occurs"


def test_intervals_are_those_of_drawing_the_images_by_hand(found: Evaluation) -> None:
    """Images repeated as often as drawn, one draw after another, scored by the confusion matrix."""
    times = np.array(list(times_drawn(IMAGES, RESAMPLES, found.settings["seed"]))).T
    each = np.array([[matrix([index], subject=s).counts for index in range(IMAGES)] for s in range(2)])
    mious, accuracies, of_class, differences = [], [], [], []
    for drawn in times:
        one, other = ConfusionMatrix(len(CLASSES)), ConfusionMatrix(len(CLASSES))
        one.counts, other.counts = (np.repeat(counts, drawn, axis=0).sum(0) for counts in each)
        mious.append(one.miou())
        accuracies.append(one.pixel_accuracy())
        of_class.append(one.iou()[2])
        differences.append(other.miou() - one.miou())
    figures, (change,) = found.subjects[0].figures, found.differences
    assert (change.subject, change.against) == ("engine", "torch")
    for interval, draws in (
        (figures.miou, mious),
        (figures.pixel_accuracy, accuracies),
        (figures.classes[2].iou, of_class),
        (change.miou, differences),
    ):
        assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(draws, PERCENTILES)), abs=1e-12)
        assert interval.low < interval.value < interval.high


def test_draws_are_multinomial() -> None:
    """Of three images there are 27 draws: every vector comes as often as it should, and the numbers add up."""
    times = np.array(list(times_drawn(3, 60_000, seed=1)))
    assert (times.sum(0) == 3).all()
    vectors, counts = np.unique(times, axis=1, return_counts=True)
    factorial = np.array([1, 1, 2, 6])
    expected = 60_000 * 6 / factorial[vectors].prod(0) / 27
    assert vectors.shape[1] == 10
    assert (((counts - expected) ** 2) / expected).sum() < 27.9  # chi-square, 9 degrees of freedom: 0.1 %
    again = np.array(list(times_drawn(3, 60_000, seed=1)))
    np.testing.assert_array_equal(times, again)
    assert list(times_drawn(0, 5)) == []


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_give_the_numbers_of_one_run(found: Evaluation, shards: int, tmp_path: Path) -> None:
    made = handmade.settings(IMAGES, SUBJECTS, CONDITIONS, bands=4, shards=shards)
    other = summarise(handmade.write(tmp_path / "e", made), SUBJECTS, CLASSES, BY)
    one, two = found.to_json(), other.to_json()
    assert (one["settings"].pop("shards"), two["settings"].pop("shards")) == (1, shards)
    assert one == two


def test_many_passes_give_the_numbers_of_one(
    found: Evaluation, folder: EvaluationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "BUDGET", 1)
    assert summarise(folder, SUBJECTS, CLASSES, BY).to_json() == found.to_json()


def test_memory_is_flat_in_the_number_of_images(tmp_path: Path) -> None:
    """Ten times the images take no more; all their counts in memory would be 10 times as many."""

    def peak(images: int) -> int:
        made = handmade.settings(images, [handmade.facts("a")], boundary=False)
        whole = handmade.write(tmp_path / str(images), made)
        tracemalloc.start()
        summarise(whole, [handmade.facts("a")], CLASSES, ("city",))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(70)
    assert peak(700) < 1.05 * few + 20_000


def test_groups_are_scored_apart(found: Evaluation) -> None:
    by = {(group.by, group.group): group for group in found.groups}
    for place, city in enumerate("ABC"):
        want = matrix(range(place, IMAGES, 3), subject=1)
        group = by["city", city]
        assert group.images == 4
        assert group.few
        assert group.subjects[1].miou.value == want.miou()
        np.testing.assert_array_equal(list(group.subjects[1].classes.values()), want.iou())
    top = by["row", "top"]
    assert top.subjects[0].miou.value == matrix(range(IMAGES), rows=slice(0, 3)).miou()
    assert (top.images, top.few) == (IMAGES, False)
    assert sum(g.images for (name, _), g in by.items() if name == "brightness") == IMAGES


def test_corruptions_are_scored_apart(found: Evaluation) -> None:
    for one in found.robustness.conditions:
        place = [s["name"] for s in SUBJECTS].index(one.subject)
        want = matrix(range(IMAGES), {1: 1, 3: 2}[one.severity], place).miou()
        assert one.miou.value == pytest.approx(want, abs=1e-15)
        assert one.degradation.value == pytest.approx(1 - want / matrix(range(IMAGES), 0, place).miou(), abs=1e-15)
    assert [m.corruption for m in found.robustness.means] == ["fog", "fog", None, None]
    assert len(found.robustness.findings) == 2


def test_the_json_is_valid_and_has_no_nan(found: Evaluation) -> None:
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    jsonschema.validate(content, read_json("evaluation.schema.json"))
    assert content["subjects"][0]["figures"]["classes"][3]["iou"] == {"value": None, "low": None, "high": None}


def test_what_is_missing_is_said_and_nothing_else(tmp_path: Path) -> None:
    made = handmade.settings(5, SUBJECTS, CONDITIONS, shards=2)
    folder, _ = open_folder(tmp_path / "e", made)
    with RecordWriter(folder, Shard(2, 2)) as writer:
        for condition in range(3):
            writer.append(handmade.entry(made, 1, condition))
    found = summarise(folder, SUBJECTS, CLASSES)
    assert not found.complete
    assert [(m.shard, m.images) for m in found.missing] == [("1/2", 3), ("2/2", 1)]
    assert found.subjects == ()
    jsonschema.validate(found.to_json(), read_json("evaluation.schema.json"))
    assert list(report.lines(found)) == [
        "missing    shard 1/2: 3 images; run it with --shard 1/2",
        "missing    shard 2/2: 1 image; run it with --shard 2/2",
        f"records    {folder.path}",
    ]
    assert list(report.grids(found)) == []


def test_bad_images_are_left_out_and_listed(tmp_path: Path) -> None:
    made = handmade.settings(6, SUBJECTS, CONDITIONS)
    found = summarise(handmade.write(tmp_path / "e", made, bad=[2, 5]), SUBJECTS, CLASSES)
    assert found.images == 4
    assert [(s.index, s.why) for s in found.skipped] == [(2, "image2 is broken"), (5, "image5 is broken")]
    assert found.subjects[0].figures.miou.value == matrix([0, 1, 3, 4]).miou()
    assert "left out   2 images that could not be used" in list(report.lines(found))
    nothing = handmade.write(tmp_path / "none", handmade.settings(2, SUBJECTS), bad=[0, 1])
    with pytest.raises(DataError, match="none of the 2 images"):
        summarise(nothing, SUBJECTS, CLASSES)


def test_random_weights_get_no_figures(tmp_path: Path) -> None:
    subjects = [handmade.facts("a", "pytorch", random_weights=True), handmade.facts("b", random_weights=True)]
    made = handmade.settings(3, subjects, CONDITIONS)
    found = summarise(handmade.write(tmp_path / "e", made), subjects, CLASSES, ["city"])
    assert [subject.figures for subject in found.subjects] == [None, None]
    assert found.differences == found.robustness.conditions == ()
    assert found.groups[0].subjects[0].miou is None
    content = found.to_json()
    jsonschema.validate(content, read_json("evaluation.schema.json"))
    text = report.markdown(found)
    assert "a: random weights: accuracy means nothing" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| b ")][-1:]
    assert row == "| b | onnxruntime | fp32 | 64x96 | - | - | - | - |"


def test_one_image_and_ignored_images_have_no_interval(tmp_path: Path) -> None:
    made = handmade.settings(3, SUBJECTS[:1], boundary=False)
    folder, _ = open_folder(tmp_path / "e", made)
    with RecordWriter(folder, Shard(1, 1)) as writer:
        for index in range(3):
            writer.append({**handmade.entry(made, index, 0), **({} if index == 1 else {"scores": [{"confusion": []}]})})
    (one,) = summarise(folder, SUBJECTS[:1], CLASSES).subjects
    assert one.figures.miou.value == matrix([1]).miou()
    assert not one.figures.miou.known
    nothing, _ = open_folder(tmp_path / "n", made)
    with RecordWriter(nothing, Shard(1, 1)) as writer:
        for index in range(3):
            writer.append({**handmade.entry(made, index, 0), "scores": [{"confusion": []}]})
    found = summarise(nothing, SUBJECTS[:1], CLASSES)
    assert np.isnan(found.subjects[0].figures.miou.value)
    jsonschema.validate(found.to_json(), read_json("evaluation.schema.json"))
    assert "| - | - | - |" in report.markdown(found)


def test_the_largest_confusions_are_shares_of_a_class() -> None:
    matrix = np.array([[900, 100, 0], [1, 2, 1], [0, 5, 995]])
    found = confusions(matrix, ["a", "b", "c"])
    assert [(c.truth, c.predicted, c.pixels, c.share) for c in found] == [
        ("b", "a", 1, 0.25),
        ("b", "c", 1, 0.25),
        ("a", "b", 100, 0.1),
    ]
    assert confusions(np.zeros((3, 3), np.int64), ["a", "b", "c"]) == ()


def test_pytorch_is_found_by_weights_and_then_by_size() -> None:
    other_size = {**handmade.facts("p1", "pytorch"), "size": [512, 512]}
    same_size = handmade.facts("p2", "pytorch")
    stranger = handmade.facts("q", "pytorch", weights="other")
    engine = handmade.facts("e")
    assert pytorch_of([stranger, other_size, same_size, engine]) == [None, None, None, 2]
    assert pytorch_of([stranger, engine]) == [None, None]
    assert pytorch_of([other_size, engine]) == [None, 0]


def test_what_is_printed(found: Evaluation) -> None:
    text = report.markdown(found)
    shares = [counts[2, 0] / counts[2].sum() for counts in (matrix(range(IMAGES), subject=s).counts for s in (0, 1))]
    one, other = (f"{share * 100:.0f} %" for share in shares)
    assert f"- car seen as sky: {one} of car's pixels by torch, {other} by engine\n" in text
    assert "**mIoU % by row (4 bands of equal height)**" in text
    assert "| A * | 4 |" in text
    assert "not shown: 1 class in neither masks nor class maps" in text
    assert "engine breaks" in text
    assert f"{IMAGES} images of somewhere; whole image" in text
    wide, narrow = (
        next(g for g in report.grids(found) if g.columns[0] == "name" and "engine" in g.columns).drawn(width)
        for width in (200, 60)
    )
    assert [c.header for c in wide.columns][:2] == ["name", "engine"]
    assert [c.header for c in narrow.columns] == ["", "torch", "engine"]
