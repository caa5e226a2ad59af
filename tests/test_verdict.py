"""What is said of a run's figures, by hand-made rows: noise is no difference, and one row at most is the one to use."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.bench.result import Comparison, Row, coarseness, spread_doubt
from segexport.bench.scoring import lost_classes
from segexport.bench.verdict import verdicts
from segexport.evaluation.bootstrap import Interval, IouChange

SIZE = (512, 512)
CLASSES = {"Road": 0.9, "Pole": 0.3, "Fence": 0.4, "SignSymbol": 0.2}


def interval(value: float, spread: float | None = 0.0) -> Interval:
    return Interval(value, None, None) if spread is None else Interval(value, value - spread, value + spread)


def beside(
    against: str,
    speedup: float = 2.0,
    change: float | None = 0.0,
    *,
    spread: float | None = 0.001,
    agreement: float | None = 0.9999,
    speed_spread: float | None = 0.05,
    lost: tuple[str, ...] = (),
) -> Comparison:
    """Beside `against`: so many times as fast, +- `speed_spread`, mIoU changed by `change` +- `spread`."""
    moved = None if change is None else interval(change, spread)
    return Comparison(against, interval(speedup, speed_spread), moved, agreement, lost)


def row(name: str, ms: float, *comparisons: Comparison, **fields) -> Row:
    """A row named "engine precision", such as "ov fp16"; one of PyTorch's is named "pytorch"."""
    engine, _, precision = name.partition(" ")
    known = {
        "name": name,
        "engine": engine,
        "version": "1",
        "precision": precision or "fp32",
        "size": SIZE,
        "latency_ms": dict.fromkeys(("p50", "p90", "p99"), ms),
        "network_ms": dict.fromkeys(("p50", "p90", "p99"), ms),
        "batch": 1,
        "calls": 20,
        "throughput": 1.0,
        "miou": 0.6,
        "pixel_accuracy": 0.9,
        "per_class_iou": CLASSES,
        "agreement": None,
        "agreement_with": None,
        "size_bytes": 1,
        "peak_memory_bytes": 1,
        "verdict": "",
        "miou_interval": interval(0.6, 0.02),
        "comparisons": comparisons,
    }
    return Row(**{**known, **fields})


def said(rows: Sequence[Row], **options) -> dict[str, str]:
    texts = verdicts(rows, **{"random_weights": False, "images": 30, **options})
    return {r.name: text for r, text in zip(rows, texts, strict=True)}


PYTORCH = row("pytorch", 100)


def alone(comparison: Comparison | None, **options) -> str:
    """What is said of an fp32 bundle that has only PyTorch beside it."""
    if comparison is None:
        return said([row("ov fp32", 25)], **options)["ov fp32"]
    return said([PYTORCH, row("ov fp32", 25, comparison, agreement_with="pytorch")], **options)["ov fp32"]


@pytest.mark.parametrize(
    ("comparison", "says"),
    [
        (beside("pytorch", 4.0), "sees what PyTorch sees, 4.0x as fast as PyTorch"),
        (
            beside("pytorch", 4.0, -0.002, spread=0.003),
            "sees what PyTorch sees, 4.0x as fast as PyTorch",
        ),
        (
            beside("pytorch", 4.0, -0.003, agreement=0.995),
            "close to PyTorch (mIoU −0.30 points, 99.500 % of pixels agree), 4.0x as fast as PyTorch",
        ),
        (
            beside("pytorch", 4.0, -0.003, spread=0.004, agreement=0.995),
            "close to PyTorch (mIoU −0.30 points, within noise, 99.500 % of pixels agree), 4.0x as fast as PyTorch",
        ),
        (
            beside("pytorch", 4.0, -0.031, agreement=0.97),
            "does not see what PyTorch sees (mIoU −3.10 points, 97.000 % of pixels agree): do not use, "
            "4.0x as fast as PyTorch",
        ),
        (
            beside("pytorch", 4.0, -0.031, spread=0.006, agreement=0.99, lost=("Pole",)),
            "mIoU −3.1 points (−3.7 to −2.5): class Pole lost: do not use, 4.0x as fast as PyTorch",
        ),
        (
            beside("pytorch", 4.0, -0.02, spread=0.03, agreement=0.9995),
            "mIoU −2.0 points (−5.0 to +1.0): too few images to tell, 4.0x as fast as PyTorch",
        ),
        (beside("pytorch", 0.8), "sees what PyTorch sees, slower than PyTorch (0.80x): do not use"),
        (beside("pytorch", 0.98), "sees what PyTorch sees, no faster than PyTorch (0.98x, within noise)"),
        (beside("pytorch", 1.04, speed_spread=0.01), "sees what PyTorch sees, 1.04x as fast as PyTorch"),
        (None, "no reference to compare with"),
    ],
)
def test_one_fp32_bundle(comparison: Comparison | None, says: str) -> None:
    assert alone(comparison) == says


def test_one_image_gives_figures_and_no_interval() -> None:
    assert alone(beside("pytorch", 4.0, spread=None)) == "sees what PyTorch sees, 4.0x as fast as PyTorch"
    big = alone(beside("pytorch", 4.0, -0.02, spread=None, agreement=0.99))
    assert big.startswith("does not see what PyTorch sees (mIoU −2.00 points, 99.000 % of pixels agree): do not use")
    no_interval = {"miou_interval": interval(0.6, None)}
    texts = said(
        [
            row("ov fp32", 20, **no_interval),
            row("ov fp16", 10, beside("ov fp32", 2.0, -0.002, spread=None), **no_interval),
            row("ov int8", 5, beside("ov fp32", 4.0, -0.03, spread=None), beside("ov fp16", 2.0), **no_interval),
        ]
    )
    assert texts["ov fp16"] == "mIoU −0.2 points (one image: no interval), 2.0x as fast as ov fp32 (fp32)"
    assert texts["ov int8"].startswith("mIoU −3.0 points (one image: no interval), 2.0x as fast as ov fp16 (fp16)")
    assert not any("use this" in text for text in texts.values()), "one image proves nothing"


def test_nearly_all_pixels_are_not_all() -> None:
    text = alone(beside("pytorch", 2.0, -0.002, agreement=0.9999999))
    assert "100 %" not in text
    assert "99.999 %" in text


def test_random_weights_have_parity_and_latency_alone() -> None:
    assert alone(beside("pytorch", 4.0, None), random_weights=True) == (
        "random weights (parity only): 99.990 % of pixels agree, 4.0x as fast as PyTorch"
    )
    assert alone(None, random_weights=True) == "random weights: latency only"
    rows = [
        row("ov fp32", 20, miou=None, miou_interval=None),
        row("ov int8", 30, beside("ov fp32", 0.7, None), miou=None, miou_interval=None),
    ]
    assert said(rows, random_weights=True)["ov int8"] == (
        "random weights: latency only, slower than ov fp32 (fp32): do not"
    )


def test_a_classifier_is_judged_by_its_best_class() -> None:
    figures = {"miou": None, "miou_interval": None, "per_class_iou": None}
    rows = [
        dataclasses.replace(PYTORCH, **figures),
        row("ov fp32", 20, beside("pytorch", 5.0, None, agreement=1.0), **figures),
        row("ov fp16", 10, beside("pytorch", 9.0, None), beside("ov fp32", 2.0, None, agreement=0.99), **figures),
        row("ov int8", 5, beside("pytorch", 9.0, None), beside("ov fp32", 4.0, None, agreement=0.9), **figures),
    ]
    rows[3] = dataclasses.replace(rows[3], comparisons=(*rows[3].comparisons, beside("ov fp16", 2.0, None)))
    texts = said(rows, what="images")
    assert texts["ov fp32"] == "sees what PyTorch sees, 5.0x as fast as PyTorch"
    assert texts["ov fp16"].startswith("close to ov fp32 (99.000 % of images agree), 2.0x as fast as ov fp32 (fp32)")
    assert texts["ov int8"].startswith("does not see what ov fp32 sees (90.000 % of images agree): do not use")
    assert not any("use this" in text for text in texts.values()), "nothing was scored"


def three(fp16: Comparison, int8: Comparison, int8_fp16: Comparison, ms: Sequence[float] = (20, 10, 5)) -> list[Row]:
    """fp32, fp16 and int8 of one engine beside PyTorch; each is as fast beside PyTorch as `ms` says."""
    return [
        PYTORCH,
        row("ov fp32", ms[0], beside("pytorch", 100 / ms[0])),
        row("ov fp16", ms[1], beside("pytorch", 100 / ms[1]), fp16),
        row("ov int8", ms[2], beside("pytorch", 100 / ms[2]), int8, int8_fp16),
    ]


def test_the_fastest_that_lost_nothing_is_to_be_used() -> None:
    small = beside("ov fp32", 4.0, -0.004, spread=0.002, agreement=0.97)
    texts = said(three(beside("ov fp32", 2.0, -0.0005), small, beside("ov fp16", 2.0, -0.003)))
    assert texts["pytorch"] == "the reference"
    assert texts["ov fp32"] == "sees what PyTorch sees, 5.0x as fast as PyTorch"
    assert texts["ov fp16"] == (
        "mIoU as ov fp32's (−0.05 points, within noise), 2.0x as fast as ov fp32 (fp32), 10.0x as fast as PyTorch"
    )
    assert texts["ov int8"] == (
        "use this: mIoU −0.4 points (−0.6 to −0.2), 2.0x as fast as ov fp16 (fp16), 20.0x as fast as PyTorch"
    )


def test_lost_classes_are_named_and_end_in_do_not_use() -> None:
    int8 = beside("ov fp32", 4.0, -0.031, spread=0.007, lost=("Pole", "SignSymbol"))
    texts = said(three(beside("ov fp32", 2.0), int8, beside("ov fp16", 2.0, -0.031)))
    assert texts["ov int8"].startswith(
        "mIoU −3.1 points (−3.8 to −2.4): classes Pole and SignSymbol lost: do not use, 2.0x as fast as ov fp16 (fp16)"
    )
    assert texts["ov fp16"].startswith("use this: mIoU as ov fp32's (0.00 points, within noise)")


def test_many_lost_classes_are_counted() -> None:
    int8 = beside("ov fp32", 4.0, -0.2, spread=0.01, lost=("a", "b", "c", "d", "e"))
    assert (
        ": classes a, b, c and 2 more lost: do not use"
        in said(three(beside("ov fp32"), int8, beside("ov fp16", 2.0)))["ov int8"]
    )


def test_where_none_is_lost_those_that_fell_most_are_named() -> None:
    rows = three(beside("ov fp32"), beside("ov fp32", 4.0, -0.05, spread=0.01), beside("ov fp16", 2.0))
    fallen = {"Road": 0.91, "Pole": 0.179, "Fence": 0.32, "SignSymbol": 0.199}
    rows[3] = dataclasses.replace(rows[3], per_class_iou=fallen)
    assert ": Pole −12.1, Fence −8.0, SignSymbol −0.1: do not use" in said(rows)["ov int8"]
    rows[3] = dataclasses.replace(rows[3], per_class_iou={**fallen, "Fence": float("nan"), "SignSymbol": None})
    assert ": Pole −12.1: do not use" in said(rows)["ov int8"]


def test_a_class_lost_in_a_small_loss_is_named_too() -> None:
    """Of 150 classes a lost one is less than a point."""
    int8 = beside("ov fp32", 4.0, -0.004, spread=0.002, lost=("Pole",))
    text = said(three(beside("ov fp32"), int8, beside("ov fp16", 2.0)))["ov int8"]
    assert text.startswith("use this: mIoU −0.4 points (−0.6 to −0.2): class Pole lost, 2.0x")


def test_a_large_loss_that_may_be_noise_is_not_passed_over() -> None:
    int8 = beside("ov fp32", 4.0, -0.05, spread=0.06)
    texts = said(three(beside("ov fp32"), int8, beside("ov fp16", 2.0)))
    assert texts["ov int8"].startswith("mIoU −5.0 points (−11.0 to +1.0): too few images to tell, 2.0x")
    assert texts["ov fp16"].startswith("use this: ")


def test_a_gain_has_a_sign() -> None:
    int8 = beside("ov fp32", 4.0, 0.004, spread=0.002)
    text = said(three(beside("ov fp32"), int8, beside("ov fp16", 2.0)))["ov int8"]
    assert text.startswith("use this: mIoU +0.4 points (+0.2 to +0.6), 2.0x")


def test_tenths_do_not_hide_a_small_loss() -> None:
    int8 = beside("ov fp32", 4.0, -0.0004, spread=0.0003)
    assert (
        "mIoU −0.04 points (−0.07 to −0.01)" in said(three(beside("ov fp32"), int8, beside("ov fp16", 2.0)))["ov int8"]
    )


def test_slower_than_a_higher_precision_is_not_to_be_used() -> None:
    texts = said(three(beside("ov fp32", 2.0), beside("ov fp32", 1.6), beside("ov fp16", 0.8), ms=(20, 10, 12.5)))
    assert ", slower than ov fp16 (fp16): do not, 8.0x as fast as PyTorch" in texts["ov int8"]
    assert texts["ov fp16"].startswith("use this: ")


def test_noise_is_no_speed() -> None:
    """int8 has the lowest median, but not beyond noise."""
    texts = said(three(beside("ov fp32", 2.0), beside("ov fp32", 2.1), beside("ov fp16", 1.04), ms=(20, 10, 9.6)))
    assert ", no faster than ov fp16 (fp16): keep fp16, " in texts["ov int8"]
    assert texts["ov fp16"].startswith("use this: ")


def test_one_with_no_gain_over_fp32_leaves_fp32() -> None:
    texts = said(three(beside("ov fp32", 1.0), beside("ov fp32", 1.02), beside("ov fp16", 1.02), ms=(20, 20, 19.6)))
    assert texts["ov fp32"].startswith("use this: sees what PyTorch sees")
    assert "no faster than" in texts["ov fp16"]


def test_what_is_not_to_be_used_is_nobodys_rival() -> None:
    """A fast fp16 that lost its classes does not make int8 slow."""
    bad = beside("ov fp32", 2.0, -0.2, spread=0.01)
    texts = said(three(bad, beside("ov fp32", 1.6), beside("ov fp16", 0.8, 0.2), ms=(20, 10, 12.5)))
    assert texts["ov int8"].startswith(
        "use this: mIoU as ov fp32's (0.00 points, within noise), 1.6x as fast as ov fp32 (fp32), "
    )


def test_the_rival_may_be_another_engines() -> None:
    rows = [
        row("ort fp32", 10),
        row("ov fp32", 20),
        row("ov int8", 15, beside("ort fp32", 0.67), beside("ov fp32", 1.33)),
    ]
    texts = said(rows)
    assert texts["ov int8"] == (
        "mIoU as ov fp32's (0.00 points, within noise), 1.3x as fast as ov fp32 (fp32), "
        "slower than ort fp32 (fp32 on ort): do not"
    )
    assert texts["ort fp32"] == "use this: the baseline of this run, no reference to compare with"
    assert texts["ov fp32"] == "the baseline of this run, no reference to compare with"


def test_a_baseline_of_another_engine_serves_before_pytorch() -> None:
    rows = [
        PYTORCH,
        row("ort fp32", 50, beside("pytorch", 2.0)),
        row("trt int8", 5, beside("pytorch", 20.0, -0.001, spread=0.0005), beside("ort fp32", 10.0)),
    ]
    texts = said(rows)
    assert texts["trt int8"] == (
        "mIoU as ort fp32's (0.00 points, within noise), 10.0x as fast as ort fp32 (fp32 on ort; fp32 on trt in the "
        "same run would tell what int8 gains), 20.0x as fast as PyTorch"
    )
    assert not any("use this" in text for text in texts.values()), "what is gained may be the engine's"
    del rows[1]
    rows[1] = dataclasses.replace(rows[1], comparisons=rows[1].comparisons[:1])
    assert said(rows)["trt int8"] == (
        "close to PyTorch (mIoU −0.10 points, 99.990 % of pixels agree), 20.0x as fast as PyTorch"
    ), "one precision: as for fp32, and nothing to choose"


def test_a_lower_precision_is_not_condemned_for_pixels() -> None:
    """int8 moves pixels between classes that mIoU does not miss; fp32 has no reason to."""
    int8 = row("ov int8", 10, beside("pytorch", 10.0, agreement=0.97))
    assert said([PYTORCH, int8])["ov int8"] == (
        "close to PyTorch (mIoU 0.00 points, within noise, 97.000 % of pixels agree), 10.0x as fast as PyTorch"
    )


def test_an_fp32_engine_that_lost_something_is_no_excuse() -> None:
    rows = [
        PYTORCH,
        row("ov fp32", 20, beside("pytorch", 5.0, -0.2, agreement=0.7)),
        row("ov int8", 5, beside("pytorch", 20.0, -0.2, spread=0.01, lost=("Pole",)), beside("ov fp32", 4.0)),
    ]
    texts = said(rows)
    assert texts["ov int8"] == (
        "mIoU −20.0 points against PyTorch (−21.0 to −19.0): class Pole lost: do not use, 20.0x as fast as PyTorch"
    )
    assert not any("use this" in text for text in texts.values())


def test_each_network_size_has_a_choice_of_its_own() -> None:
    small = {"size": (256, 256), "engine": "ov"}
    rows = [
        row("ov fp32", 20),
        row("ov int8", 10, beside("ov fp32", 2.0), beside("small fp32", 0.5, agreement=None)),
        row("small fp32", 5, **small),
        row("small int8", 6, beside("ov fp32", 3.3, -0.1, agreement=None), beside("small fp32", 0.8), **small),
    ]
    texts = said(rows)
    assert texts["ov int8"] == (
        "use this at this size: mIoU as ov fp32's (0.00 points, within noise), 2.0x as fast as ov fp32 (fp32)"
    )
    assert texts["small fp32"].startswith("use this at this size: ")
    assert texts["small int8"] == (
        "mIoU as small fp32's (0.00 points, within noise), slower than small fp32 (fp32): do not"
    )


@given(
    ms=st.lists(st.floats(1, 200), min_size=5, max_size=5),
    changes=st.lists(st.floats(-0.05, 0.05), min_size=5, max_size=5),
    spreads=st.lists(st.floats(0, 0.3), min_size=5, max_size=5),
    order=st.permutations(range(5)),
)
def test_at_most_one_is_to_be_used_and_never_one_that_is_not(
    ms: list[float], changes: list[float], spreads: list[float], order: list[int]
) -> None:
    names = ["ov fp32", "ort fp32", "ov bf16", "trt fp16", "ov int8"]
    rows = [PYTORCH]
    for i, name in enumerate(names):
        finer = [j for j in range(5) if coarseness(names[j].split()[1]) < coarseness(name.split()[1])]
        against = [("pytorch", 100 / ms[i]), *((names[j], ms[j] / ms[i]) for j in finer)]
        found = (beside(n, by, changes[i], spread=spreads[i] / 10, speed_spread=spreads[i]) for n, by in against)
        rows.append(row(name, ms[i], *found))
    texts = said([rows[0], *(rows[1 + i] for i in order)])
    chosen = [name for name, text in texts.items() if text.startswith("use this: ")]
    assert len(chosen) <= 1
    for name in chosen:
        refusals = ("do not", "no faster than", "too few", "would tell")
        assert not any(refusal in texts[name] for refusal in refusals)
        beaten = rows[1 + names.index(name)].comparisons
        faster = [c.speedup.low for c in beaten if not re.search("do not|too few images to tell", texts[c.against])]
        assert all(low is not None and low > 1.005 for low in faster)


def test_an_interval_that_touches_one_is_no_gain() -> None:
    """Intervals are read in hundredths: from 1.00 to 1.25 is no gain, from 1.01 to 1.25 is one."""
    touching = Interval(1.12, 1.004, 1.25)
    clear = Interval(1.12, 1.006, 1.25)
    texts = {}
    for speedup in (touching, clear):
        comparison = dataclasses.replace(beside("ov fp32"), speedup=speedup)
        texts[speedup] = said([row("ov fp32", 20), row("ov int8", 18, comparison)])
    assert ", no faster than ov fp32 (fp32): keep fp32" in texts[touching]["ov int8"]
    assert texts[touching]["ov fp32"].startswith("use this: ")
    assert texts[clear]["ov int8"].startswith("use this: ")


def test_one_that_may_be_no_faster_than_pytorch_is_not_the_one_to_use() -> None:
    rows = three(beside("ov fp32", 2.0), beside("ov fp32", 1.5), beside("ov fp16", 0.75), ms=(20, 10, 13))
    assert said(rows)["ov fp16"].startswith("use this: ")
    rows[2] = row("ov fp16", 10, beside("pytorch", 1.02), beside("ov fp32", 2.0))
    texts = said(rows)
    assert texts["ov fp16"].endswith("no faster than PyTorch (1.02x, within noise)")
    assert not any("use this" in text for text in texts.values())


@pytest.mark.parametrize(("images", "enough"), [(9, False), (10, True)])
def test_few_images_tell_of_none_that_it_is_to_be_used(images: int, enough: bool) -> None:
    texts = said(three(beside("ov fp32", 2.0), beside("ov fp32", 4.0), beside("ov fp16", 2.0)), images=images)
    few = [text for text in texts.values() if "too few images to tell whether to use this: 9, take 10 or more" in text]
    assert len(few) == (0 if enough else 1)
    assert any("use this: mIoU" in text for text in texts.values()) == enough


def test_its_own_engine_comes_before_a_faster_or_slower_one() -> None:
    """What int8 gains is seen on its own engine, though the slowest fp32 makes more of it."""
    rows = [
        row("ort fp32", 30),
        row("ov fp32", 20),
        row("ov int8", 19.5, beside("ort fp32", 1.54), beside("ov fp32", 1.03)),
    ]
    texts = said(rows)
    assert texts["ov int8"] == (
        "mIoU as ov fp32's (0.00 points, within noise), no faster than ov fp32 (fp32): keep fp32"
    )
    assert texts["ov fp32"].startswith("use this: ")


def test_calls_of_other_batches_are_not_alike() -> None:
    rows = [
        row("ov fp32", 20),
        row("ov int8", 10, beside("ov fp32", 2.0), batch=4),
    ]
    texts = said(rows)
    assert texts["ov int8"].endswith(
        "2.0x as fast as ov fp32 (fp32, 1 image a call; fp32 on ov with a batch of 4 in the same run would tell what "
        "int8 gains)"
    )
    assert not any("use this" in text for text in texts.values())


class TestWithoutPyTorch:
    """The run's first bundle in fp32 is what agreement is with."""

    def test_a_second_engine_is_held_against_it(self) -> None:
        figures = {"miou": None, "miou_interval": None, "per_class_iou": None}
        rows = [
            row("ort fp32", 20, **figures),
            row("ov fp32", 10, beside("ort fp32", 2.0, None), agreement_with="ort fp32", **figures),
        ]
        texts = said(rows)
        assert texts["ort fp32"] == "the baseline of this run, no reference to compare with"
        assert texts["ov fp32"] == "sees what ort fp32 sees, 2.0x as fast as ort fp32 (fp32 on ort)"

    def test_slower_is_no_reason_against_it(self) -> None:
        rows = [row("ort fp32", 20), row("ov fp32", 30, beside("ort fp32", 0.67), agreement_with="ort fp32")]
        assert said(rows)["ov fp32"] == "sees what ort fp32 sees, slower than ort fp32 (fp32 on ort)"

    def test_which_of_two_is_wrong_cannot_be_told(self) -> None:
        wrong = beside("ort fp32", 2.0, None, agreement=0.7)
        text = said([row("ort fp32", 20), row("ov fp32", 10, wrong, agreement_with="ort fp32")])["ov fp32"]
        assert text.startswith(
            "does not see what ort fp32 sees (70.000 % of pixels agree): one of the two is wrong, which PyTorch would"
        )

    def test_random_weights_agree_with_it(self) -> None:
        figures = {"miou": None, "miou_interval": None, "per_class_iou": None}
        int8 = row("ov int8", 10, beside("ov fp32", 2.0, None), agreement_with="ov fp32", **figures)
        rows = [row("ov fp32", 20, **figures), int8]
        assert said(rows, random_weights=True)["ov int8"] == (
            "random weights (parity only): 99.990 % of pixels agree with ov fp32, 2.0x as fast as ov fp32 (fp32)"
        )


BUSY = "the machine was busy"
SPREAD = "calls spread widely, p90 is 1.6x p50"


class TestDoubts:
    """What makes a ratio doubtful is said beside it."""

    def test_a_busy_machine_is_named_once_in_a_row(self) -> None:
        texts = said(three(beside("ov fp32", 2.0), beside("ov fp32", 4.0), beside("ov fp16", 2.0)), busy=BUSY)
        assert texts["ov fp32"] == f"sees what PyTorch sees, 5.0x as fast as PyTorch (doubtful: {BUSY})"
        assert texts["ov int8"].endswith(f"2.0x as fast as ov fp16 (fp16) (doubtful: {BUSY}), 20.0x as fast as PyTorch")
        assert texts["pytorch"] == "the reference"

    def test_a_wide_spread_is_named_beside_the_ratio_that_it_blurs(self) -> None:
        pytorch = dataclasses.replace(PYTORCH, doubts=(SPREAD,))
        own = row("ov fp32", 25, beside("pytorch", 4.0), doubts=(SPREAD,))
        quiet = row("ov int8", 20, beside("pytorch", 5.0), beside("ov fp32", 1.3))
        texts = said([pytorch, own, quiet])
        both = f"{SPREAD}; PyTorch's {SPREAD}"
        assert texts["ov fp32"] == f"sees what PyTorch sees, 4.0x as fast as PyTorch (doubtful: {both})"
        assert texts["ov int8"].endswith(
            f"1.3x as fast as ov fp32 (fp32) (doubtful: ov fp32's {SPREAD}), "
            f"5.0x as fast as PyTorch (doubtful: PyTorch's {SPREAD})"
        )

    def test_without_a_ratio_the_times_are_doubtful(self) -> None:
        assert said([row("ov fp32", 25, doubts=(SPREAD,))], busy=BUSY)["ov fp32"] == (
            f"no reference to compare with (its times are doubtful: {SPREAD}; {BUSY})"
        )

    @pytest.mark.parametrize(
        ("seconds", "sizes", "found"),
        [
            ([0.1] * 16 + [0.16] * 4, (), ("calls spread widely, p90 is 1.6x p50",)),
            ([0.1] * 16 + [0.14] * 4, (), ()),
            ([0.1] * 19 + [0.9], (), ()),
            ([0.1, 0.4] * 10, [(64, 96), (640, 960)] * 10, ()),
            ([0.1, 0.4] * 6 + [0.1, 0.8] * 4, [(64, 96), (640, 960)] * 10, ("calls spread widely, p90 is 2.0x p50",)),
        ],
        ids=["wide", "narrow", "one slow call", "images of two sizes", "of two sizes, and wide"],
    )
    def test_calls_spread_widely(self, seconds: list[float], sizes: list[tuple[int, int]], found: tuple[str]) -> None:
        assert spread_doubt(seconds, sizes) == found


def test_lost_is_less_than_half_beyond_noise_of_what_was_seen() -> None:
    names = ("half", "lost", "noise", "unseen", "gone", "absent", "one image")
    before = np.array([0.4, 0.4, 0.4, 0.02, 0.4, np.nan, 0.4])
    iou = np.array([0.2, 0.19, 0.19, 0.0, 0.0, np.nan, 0.1])
    spreads = (0.0, 0.01, 0.3, 0.0, 0.0, None, None)
    changes = tuple(interval(float(i - b), s) for i, b, s in zip(iou, before, spreads, strict=True))
    assert lost_classes(names, iou, before, IouChange(interval(-0.1), changes)) == ("lost", "gone")


def test_precisions_are_ordered() -> None:
    assert coarseness("fp32") < coarseness("fp16") == coarseness("bf16") < coarseness("int8")
    assert coarseness("int8") == coarseness("something new")
