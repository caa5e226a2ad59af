"""The small parts: order of visits, schedule, sizes, average, confusion matrices."""

import dataclasses
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from segexport.datasets import Sample
from segexport.errors import ContractError, DataError
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.finetuning.recipe import FROM_RANDOM, PAPER, Recipe
from segexport.finetuning.schedule import Schedule
from segexport.finetuning.sizes import choose_sizes
from segexport.finetuning.transforms import Augmentation
from segexport.finetuning.visits import Visits

torch = pytest.importorskip("torch")


class Plates:
    """Images that tell their index by their colour; some cannot be read."""

    name = "plates"

    def __init__(self, count: int, bad: tuple[int, ...] = ()) -> None:
        self.count, self.bad = count, bad

    def __len__(self):
        return self.count

    def sample(self, index):
        if index in self.bad:
            raise DataError(f"plate {index} cannot be decoded: replace the file")
        return Sample(str(index), np.full((12, 12, 3), index, np.uint8), np.full((12, 12), index % 3, np.uint8))


def visits(count=7, bad=(), skip_bad=False, **recipe):
    made = dataclasses.replace(PAPER, steps=100, batch=2, **recipe)
    return Visits(Plates(count, bad), Augmentation((8, 8), None, (0, 0, 0), made), Schedule(made), 2, skip_bad)


def test_every_pass_visits_every_image_once_in_another_order():
    order = [visits().image_of(v) for v in range(21)]
    passes = [order[:7], order[7:14], order[14:]]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_a_visit_is_the_same_whoever_makes_it():
    whole = visits()({"visit": list(range(10))})
    elsewhere = pickle.loads(pickle.dumps(visits()))({"visit": [9, 4]})
    for place, visit in enumerate((9, 4)):
        assert np.array_equal(whole["image"][visit], elsewhere["image"][place])
        assert np.array_equal(whole["mask"][visit], elsewhere["mask"][place])


def test_another_seed_is_another_order():
    assert [visits().image_of(v) for v in range(7)] != [visits(seed=1).image_of(v) for v in range(7)]


def test_bad_images_stop_or_are_passed_over():
    with pytest.raises(DataError, match="plate 3"):
        visits(bad=(3,))({"visit": list(range(7))})
    recipe = {"jitter": False, "scales": (1.0, 1.0)}
    seen = Counter(int(i.max()) for i in visits(7, (3,), True, **recipe)({"visit": list(range(7))})["image"])
    assert 3 not in seen
    assert sum(seen.values()) == 7
    with pytest.raises(DataError, match="none of the 2 images"):
        visits(2, (0, 1), skip_bad=True)({"visit": [0]})


def test_the_first_steps_are_at_half_the_resolution():
    coarse = visits(coarse=0.5)({"visit": [0, 99, 100, 199]})["image"]
    assert [image.shape[0] for image in coarse] == [4, 4, 8, 8]


def test_rate_rises_then_falls_to_nothing():
    recipe = dataclasses.replace(PAPER, steps=1000, warm_up=0.1)
    rates = [Schedule(recipe).rate(step) for step in range(1001)]
    assert 0 < rates[0] < 0.02
    assert rates.index(max(rates)) == pytest.approx(100, abs=2)
    assert all(a > b for a, b in pairwise(rates[105:]))
    assert rates[550] == pytest.approx(0.45)
    assert rates[1000] == 0


def test_a_training_of_minutes_goes_on_where_it_was():
    schedule = Schedule(dataclasses.replace(FROM_RANDOM, minutes=1e6))
    schedule.begin(0.5)
    assert schedule.share(0) == pytest.approx(0.5, abs=1e-3)
    spent = Schedule(dataclasses.replace(FROM_RANDOM, minutes=1e-9))
    assert spent.share(0) == 1


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"minutes": 0.0}, {"batch": 0}, {"accumulate": 3}, {"scales": (2.0, 1.0)}, {"ema": 1.0}]
)
def test_recipes_that_cannot_be(change):
    with pytest.raises(ContractError, match="--" + next(iter(change))):
        Recipe(**change)


@pytest.mark.parametrize(
    ("images", "processor", "asked", "asked_crop", "crop", "short", "network"),
    [
        ({(360, 480): 5}, (512, 512), None, None, (360, 480), 360, (360, 480)),
        ({(1024, 2048): 5}, (1024, 1024), None, None, (1024, 1024), 1024, (1024, 2048)),
        ({(1080, 1920): 5}, (512, 512), None, None, (512, 512), 512, (512, 896)),
        ({(512, 683): 5, (768, 512): 4}, (512, 512), None, None, (512, 512), 512, (512, 512)),
        ({(360, 480): 5}, (512, 512), (288, 384), None, (288, 384), 288, (288, 384)),
        ({(360, 480): 5}, (512, 512), None, (288, 384), (288, 384), 360, (360, 480)),
    ],
)
def test_sizes(images, processor, asked, asked_crop, crop, short, network):
    found = choose_sizes(images, processor, asked, asked_crop)
    assert (found.crop, found.short_side, found.network) == (crop, short, network)


@pytest.mark.parametrize(("step", "network"), [(32, (512, 896)), (16, (512, 912)), (24, (504, 912)), (64, (512, 896))])
def test_whole_images_have_whole_cells_in_the_last_stage(step, network):
    assert choose_sizes({(1080, 1920): 5}, (512, 512), step=step).network == network


def test_average_is_the_mean_that_it_says(tmp_path):
    from segexport.finetuning.averaging import Average

    layer = torch.nn.BatchNorm1d(2)
    average, expected = Average(layer, 0.9), layer.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    own = layer.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(layer.weight.detach(), own)
    average.save(tmp_path)
    again = Average(torch.nn.BatchNorm1d(2), 0.9)
    again.load(tmp_path)
    with again.in_place():
        torch.testing.assert_close(again._live["weight"].detach(), expected)


def test_confusion_equals_evaluates():
    from segexport.finetuning.scoring import ComputeMetrics, confusion

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 8, generator=generator)
    masks = [torch.randint(0, 3, size, generator=generator) for size in ((24, 32), (17, 11))]
    masks[0][:5] = 255
    found = confusion(logits, masks)
    whole = ConfusionMatrix(3)
    for one, mask, counts in zip(logits, masks, found, strict=True):
        full = torch.nn.functional.interpolate(one[None], size=mask.shape, mode="bilinear", align_corners=False)
        matrix = ConfusionMatrix(3)
        matrix.update(mask.numpy().astype(np.uint8), full[0].argmax(0).numpy().astype(np.uint8))
        assert np.array_equal(matrix.counts, counts.numpy())
        whole.counts += matrix.counts
    compute = ComputeMetrics(["a", "b", "c"])

    class Prediction:
        predictions = found

    assert compute(Prediction, compute_result=False) == {}
    scores = compute(Prediction, compute_result=True)
    assert scores["miou"] == pytest.approx(whole.miou())
    assert scores["pixel_accuracy"] == pytest.approx(whole.pixel_accuracy())
    Prediction.predictions = found[:1] * 0
    assert compute(Prediction) == {}  # begins anew, and nothing of nothing is scored


def test_a_step_has_one_resolution_although_the_clock_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("segexport.finetuning.schedule.time.monotonic", lambda: now)
    schedule = Schedule(dataclasses.replace(Recipe(), minutes=1, coarse=0.5))
    schedule.begin()
    now = 29.0
    assert schedule.coarse(7)
    now = 31.0
    assert schedule.coarse(7), "the rest of the batch"
    assert not schedule.coarse(8)
