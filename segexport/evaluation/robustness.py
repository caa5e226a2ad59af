"""How fast a network degrades as images do, beside PyTorch with the same weights: does INT8 break earlier in fog?

`degradation` is 1 - mIoU / clean mIoU, which is 1 - rPC, "relative performance under corruption", of Michaelis et al.,
"Benchmarking Robustness in Object Detection: Autonomous Driving when Winter is Coming" (2019); of a corruption, and of
all of them, it is that of the mean mIoU (their mPC). `corruption_degradation` is the CD of Kamann and Rother,
"Benchmarking the Robustness of Semantic Segmentation Models" (CVPR 2020): 1 - mIoU summed over severities, relative to
that of a reference, here PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segexport.evaluation.bootstrap import Interval, interval_of
from segexport.evaluation.condition import Condition
from segexport.evaluation.metrics import Floats
from segexport.evaluation.result import Degradation, Robustness

SAME_DEGRADATION = 0.001
"""A difference in degradation below 0.1 points is one of rounding."""


@dataclass(frozen=True)
class Scored:
    """mIoU of every subject in one condition: `values` [subjects], `drawn` [resamples, subjects]."""

    values: Floats
    drawn: Floats
    counted: int
    """Images with any pixel whose truth is known."""


@dataclass(frozen=True)
class _Subject:
    """A subject's place among the others, and that of PyTorch with the same weights."""

    name: str
    place: int
    pytorch: int | None
    pytorch_name: str | None


def robustness(
    conditions: Sequence[Condition],
    scored: Sequence[Scored],
    names: Sequence[str],
    pytorch: Sequence[int | None],
    left_out: Sequence[bool],
) -> Robustness:
    """Every figure of the corruptions among `conditions`.

    Args:
        conditions: clean first.
        scored: one a condition, from the same draws.
        names: of the subjects.
        pytorch: for each subject the place of PyTorch with the same weights; None for PyTorch itself, or without it.
        left_out: subjects of whom nothing is said: those with random weights.
    """
    clean = scored[0]
    corruptions = tuple(dict.fromkeys(c.corruption for c in conditions if c.corruption is not None))
    subjects = [
        _Subject(name, place, at, None if at is None else names[at])
        for place, (name, at) in enumerate(zip(names, pytorch, strict=True))
        if not left_out[place]
    ]
    of = {name: [s for c, s in zip(conditions, scored, strict=True) if c.corruption == name] for name in corruptions}
    found = tuple(
        _degradation(subject, condition.corruption, condition.severity, [one], clean)
        for condition, one in zip(conditions, scored, strict=True)
        if condition.corruption is not None
        for subject in subjects
    )
    means = (
        *(_degradation(subject, name, None, of[name], clean) for name in corruptions for subject in subjects),
        *(_degradation(subject, None, None, scored[1:], clean) for subject in subjects),
    )
    severities = tuple(sorted({c.severity for c in conditions if c.corruption is not None}))
    return Robustness(corruptions, severities, found, means, tuple(_findings(means)))


def _degradation(
    subject: _Subject, corruption: str | None, severity: int | None, scored: Sequence[Scored], clean: Scored
) -> Degradation:
    values = np.mean([one.values for one in scored], 0)
    drawn = np.mean([one.drawn for one in scored], 0)
    counted = clean.counted

    def figures(place: int) -> tuple[float, Floats, float, Floats]:
        return (
            float(values[place]),
            drawn[:, place],
            float(_lost(values[place], clean.values[place])),
            _lost(drawn[:, place], clean.drawn[:, place]),
        )

    value, resampled, lost, lost_resampled = figures(subject.place)
    own = Degradation(
        subject.name,
        corruption,
        severity,
        interval_of(value, resampled, counted),
        interval_of(lost, lost_resampled, counted),
    )
    if subject.pytorch is None:
        return own
    other, other_resampled, other_lost, other_lost_resampled = figures(subject.pytorch)
    wrong = 1 - other
    return Degradation(
        own.subject,
        corruption,
        severity,
        own.miou,
        own.degradation,
        against=subject.pytorch_name,
        difference=interval_of(value - other, resampled - other_resampled, counted),
        degradation_change=interval_of(lost - other_lost, lost_resampled - other_lost_resampled, counted),
        corruption_degradation=(1 - value) / wrong if severity is None and corruption is not None and wrong else None,
    )


def _lost(corrupted: Floats, clean: Floats) -> Floats:
    """1 - corrupted / clean; NaN where clean is 0 or NaN."""
    kept = np.full(np.shape(clean), np.nan)
    np.divide(corrupted, clean, out=kept, where=np.asarray(clean) > 0)
    return 1 - kept


def _findings(means: Sequence[Degradation]) -> Iterator[str]:
    """A sentence for each mean that stands beside PyTorch, the whole first."""
    named = {(one.subject, one.corruption): one for one in means}
    for one in sorted(means, key=lambda found: found.corruption is not None):
        if one.against is None or one.degradation_change is None:
            continue
        where = "over all corruptions" if one.corruption is None else f"in {one.corruption.replace('_', ' ')}"
        lost, other = one.degradation.value, named[one.against, one.corruption].degradation.value
        if np.isnan(lost) or np.isnan(other):
            yield f"{one.subject}: nothing to compare {where}"
            continue
        yield (
            f"{one.subject} {_verdict(one.degradation_change)} than {one.against} {where}: it loses {lost * 100:.1f} % "
            f"of its mIoU, {one.against} {other * 100:.1f} % ({_points(one.degradation_change)})"
        )


def _verdict(change: Interval) -> str:
    if not change.known:
        return "cannot be said to break earlier"
    if change.above(0) and change.value >= SAME_DEGRADATION:
        return "breaks earlier"
    if change.below(0) and change.value <= -SAME_DEGRADATION:
        return "breaks later"
    return "breaks no earlier"


def _points(change: Interval) -> str:
    if change.low is None or change.high is None:
        return f"{change.value * 100:+.2f} points, too few images to tell"
    ends = f"{change.low * 100:+.2f} to {change.high * 100:+.2f}"
    noise = "" if change.above(0) or change.below(0) else ", within noise"
    return f"{change.value * 100:+.2f} points, {ends}{noise}"
