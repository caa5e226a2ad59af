"""The figures of a run in words: what each row lost and gained, and which one to use.

Rows in, sentences out. A difference counts only where the whole 95 % interval lies on one side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segexport.bench.result import Comparison, Row, coarseness
from segexport.evaluation.bootstrap import Interval

SAME_AGREEMENT = 0.999
SAME_MIOU = 0.0005
"""An mIoU difference below 0.05 points is one of rounding, not of accuracy."""

LOST_MIOU = 0.01
LOST_AGREEMENT = 0.98

_NAMED = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class _Judgement:
    """What is said of a row, and whether it may be used: only such a row is a rival to the others."""

    text: str
    acceptable: bool


def verdicts(rows: Sequence[Row], *, random_weights: bool, what: str = "pixels") -> tuple[str, ...]:
    """One sentence a row: can it take the place of what it is compared with, what does it gain, is it the one to use?

    Args:
        rows: of one run, with their comparisons; what `verdict` says in them is ignored.
        random_weights: accuracy then means nothing.
        what: what agrees, for the sentence: pixels, or images of a classifier.
    """
    named = {row.name: row for row in rows}
    judged: dict[str, _Judgement] = {}
    for row in sorted(rows, key=lambda r: coarseness(r.precision)):  # rivals come first
        judged[row.name] = _Judge(row, named, judged, random_weights, what).judgement()
    sizes = list(dict.fromkeys(row.size for row in rows))
    chosen = {_chosen([r for r in rows if r.size == size and not r.is_reference], judged) for size in sizes}
    use = "use this: " if len(sizes) == 1 else "use this at this size: "
    return tuple((use if row.name in chosen else "") + judged[row.name].text for row in rows)


def _chosen(rows: Sequence[Row], judged: Mapping[str, _Judgement]) -> str | None:
    """The fastest of the acceptable rows that is faster, beyond noise, than all of them of higher precision.

    None where there is nothing to choose between, or where the images do not allow it.
    """
    known = all(row.miou_interval is not None and row.miou_interval.known for row in rows)
    if len({row.precision for row in rows}) < 2 or not known:
        return None
    fit = [row for row in rows if judged[row.name].acceptable]
    rivals = {row.name: [r for r in fit if coarseness(r.precision) < coarseness(row.precision)] for row in fit}
    worth = [row for row in fit if all(_beside(row, r.name).speedup.above(1) for r in rivals[row.name])]
    return min(worth, key=lambda row: row.latency_ms["p50"]).name if worth else None


@dataclass(frozen=True)
class _Judge:
    """Judges `row` by the run's rows and by what was said of those of higher precision."""

    row: Row
    named: Mapping[str, Row]
    judged: Mapping[str, _Judgement]
    random_weights: bool
    what: str

    def judgement(self) -> _Judgement:
        """The whole sentence, but for "use this"."""
        if self.row.is_reference:
            return _Judgement("the reference", False)
        accuracy = self._accuracy()
        parts = [accuracy, *filter(None, (self._beside_rival(), self._beside_pytorch()))]
        return _Judgement(", ".join(p.text for p in parts), all(p.acceptable for p in parts))

    def _accuracy(self) -> _Judgement:
        baseline, pytorch = self._baseline(), self._pytorch()
        if self.random_weights:
            if pytorch is None or pytorch.agreement is None:
                return _Judgement("random weights: latency only", True)
            return _Judgement(f"random weights (parity only): {self._agree(pytorch)}", True)
        if baseline is None:
            lower = any(coarseness(r.precision) > coarseness(self.row.precision) for r in self.named.values())
            first = "the baseline of this run, " if lower else ""
            return _Judgement(f"{first}no reference to compare with", True)
        if self._is_fp32 or self._is_alone() or baseline.miou_change is None:
            return self._sees(baseline)
        # An fp32 engine that lost something itself is no excuse.
        if pytorch is not None and pytorch is not baseline and _is_lost(pytorch) and not _is_lost(baseline):
            return self._lost(pytorch, " against PyTorch")
        return self._lost(baseline) if _is_lost(baseline) else self._kept(baseline)

    @property
    def _is_fp32(self) -> bool:
        return self.row.precision == "fp32"

    def _is_alone(self) -> bool:
        """Whether the run has no bundle of another precision."""
        return {r.precision for r in self.named.values() if not r.is_reference} == {self.row.precision}

    def _baseline(self) -> Comparison | None:
        """fp32 on the same engine, else on another, else PyTorch; of another network size only where all are."""

        def distance(comparison: Comparison) -> tuple[bool, bool, bool, int]:
            other = self.named[comparison.against]
            return (
                other.size != self.row.size,
                other.is_reference,
                other.engine != self.row.engine,
                coarseness(other.precision),
            )

        compared = self.row.comparisons
        fp32 = [c for c in compared if self.named[c.against].precision == "fp32"]
        return min(fp32 or compared, key=distance, default=None)

    def _pytorch(self) -> Comparison | None:
        return next((c for c in self.row.comparisons if self.named[c.against].is_reference), None)

    def _sees(self, comparison: Comparison) -> _Judgement:
        """In words about agreement: for fp32, which should change nothing, and where nothing finer is in the run."""
        change, agreement = comparison.miou_change, comparison.agreement
        name = self._name(comparison)
        if agreement is None:  # of another network size
            return self._kept(comparison) if change else _Judgement("no reference to compare with", True)
        value = change.value if change else 0.0
        noise = change is not None and change.known and not (change.below(0) or change.above(0))
        figures = f"mIoU {_signed(value * 100, 2)} points, {'within noise, ' if noise else ''}" if change else ""
        differs = agreement < LOST_AGREEMENT and (self._is_fp32 or change is None)
        if differs or (change and not change.known and value < -LOST_MIOU):
            return _Judgement(f"does not see what {name} sees ({figures}{self._agree(comparison)}): do not use", False)
        if _is_lost(comparison):
            return self._lost(comparison)
        if value < -LOST_MIOU:
            return self._kept(comparison)
        if agreement >= SAME_AGREEMENT and (noise or abs(value) < SAME_MIOU):
            return _Judgement(f"sees what {name} sees", True)
        return _Judgement(f"close to {name} ({figures}{self._agree(comparison)})", True)

    def _lost(self, comparison: Comparison, against: str = "") -> _Judgement:
        assert comparison.miou_change is not None
        what = _lost_classes(comparison) or self._fell_most(comparison)
        named = f": {what}" if what else ""
        return _Judgement(f"{_change(comparison.miou_change, against)}{named}: do not use", False)

    def _kept(self, comparison: Comparison) -> _Judgement:
        change = comparison.miou_change
        assert change is not None
        lost = _lost_classes(comparison)
        named = f": {lost}" if lost else ""
        if not change.known or change.below(0) or change.above(0):
            return _Judgement(f"{_change(change)}{named}", change.known or change.value >= -LOST_MIOU)
        if change.value < -LOST_MIOU:
            return _Judgement(f"{_change(change)}{named}: too few images to tell", False)
        noise = f"({_signed(change.value * 100, 2)} points, within noise)"
        return _Judgement(f"mIoU as {self._name(comparison)}'s {noise}{named}", True)

    def _fell_most(self, comparison: Comparison) -> str:
        """The classes whose IoU fell most, in points: 'Pole −12.1, Fence −8.0'."""
        now, before = self.row.per_class_iou, self.named[comparison.against].per_class_iou
        assert now is not None
        assert before is not None
        changes = ((_number(now, c) - _number(before, c), c) for c in now)
        fell = sorted((change, c) for change, c in changes if change < 0)
        return ", ".join(f"{c} {_signed(change * 100, 1)}" for change, c in fell[:_NAMED])

    def _beside_rival(self) -> _Judgement | None:
        """Speed beside the fastest acceptable bundle of higher precision and the same network size."""
        others = (self.named[c.against] for c in self.row.comparisons)
        same = [r for r in others if r.size == self.row.size and not r.is_reference]
        rivals = [r for r in same if self.judged[r.name].acceptable]
        if not rivals:
            return None
        rival = min(rivals, key=lambda r: r.latency_ms["p50"])
        speedup = _beside(self.row, rival.name).speedup
        name = f"{rival.name} ({rival.precision})"
        if speedup.above(1):
            return _Judgement(f"{_times(speedup.value)} as fast as {name}", True)
        if speedup.below(1):
            return _Judgement(f"slower than {name}: do not", False)
        return _Judgement(f"no faster than {name}: keep {rival.precision}", True)

    def _beside_pytorch(self) -> _Judgement | None:
        comparison = self._pytorch()
        if comparison is None:
            return None
        speedup = comparison.speedup
        if speedup.below(1) or (not speedup.known and speedup.value < 1):
            return _Judgement(f"slower than PyTorch ({speedup.value:.2f}x): do not use", False)
        if speedup.known and not speedup.above(1):
            return _Judgement(f"no faster than PyTorch ({speedup.value:.2f}x, within noise)", True)
        return _Judgement(f"{_times(speedup.value)} as fast as PyTorch", True)

    def _name(self, comparison: Comparison) -> str:
        return "PyTorch" if self.named[comparison.against].is_reference else comparison.against

    def _agree(self, comparison: Comparison) -> str:
        assert comparison.agreement is not None
        return f"{_share(comparison.agreement)} of {self.what} agree"


def _beside(row: Row, against: str) -> Comparison:
    return next(c for c in row.comparisons if c.against == against)


def _is_lost(comparison: Comparison) -> bool:
    """Whether more than a point of mIoU is gone, and noise is not why."""
    change = comparison.miou_change
    return change is not None and change.value < -LOST_MIOU and change.below(0)


def _lost_classes(comparison: Comparison) -> str:
    names = list(comparison.lost_classes)
    if not names:
        return ""
    if len(names) > _NAMED + 1:
        names[_NAMED:] = [f"{len(names) - _NAMED} more"]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"{'class' if len(names) == 1 else 'classes'} {listed} lost"


def _number(iou: Mapping[str, float | None], name: str) -> float:
    """A class's IoU; NaN, which is below nothing, where it does not occur."""
    value = iou[name]
    return float("nan") if value is None else value


def _change(change: Interval, against: str = "") -> str:
    """An mIoU change with its interval, in tenths of a point, or in hundredths where tenths would say zero."""
    known = [value for value in (change.value, change.low, change.high) if value is not None]
    digits = 1 if min(map(abs, known)) >= SAME_MIOU else 2
    value, *ends = (_signed(value * 100, digits) for value in known)
    return f"mIoU {value} points{against} ({' to '.join(ends) or 'one image: no interval'})"


def _signed(value: float, digits: int) -> str:
    """With a sign, unless it rounds to zero."""
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _times(speedup: float) -> str:
    """In tenths, or in hundredths where tenths would hide what was gained."""
    return f"{speedup:.1f}x" if speedup >= 1.1 else f"{speedup:.2f}x"


def _share(value: float) -> str:
    """A percentage that says 100 % only of all."""
    if value == 1.0:
        return "100 %"
    return f"{min(value * 100, 99.999):.3f} %"
