"""What is said of one row of a run: what it lost, what it gained, and what makes that doubtful.

A difference counts only where the whole 95 % interval lies on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from segexport.bench.result import Comparison, Row, coarseness
from segexport.evaluation.bootstrap import Interval

SAME_AGREEMENT = 0.999
SAME_MIOU = 0.0005
"""An mIoU difference below 0.05 points is one of rounding, not of accuracy."""

LOST_MIOU = 0.01
LOST_AGREEMENT = 0.98

SAME_SPEED = 0.005
"""An interval of a ratio that comes this near to 1 touches it: in hundredths, it reads 1.00."""

_NAMED = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class Judgement:
    """What is said of a row, and whether it may be used: only such a row is a rival to the others."""

    text: str
    acceptable: bool


@dataclass(frozen=True)
class Judge:
    """Judges `row` by the run's rows and by what was said of those of higher precision."""

    row: Row
    named: Mapping[str, Row]
    judged: Mapping[str, Judgement]
    random_weights: bool
    what: str
    busy: str

    def judgement(self) -> Judgement:
        """The whole sentence, but for "use this"."""
        if self.row.is_reference:
            return Judgement("the reference", False)
        accuracy, speeds = self._accuracy(), list(self._speeds())
        doubts = [] if speeds else self._doubts()
        parts = [accuracy, *speeds]
        text = ", ".join(p.text for p in parts) + (f" (its times are doubtful: {'; '.join(doubts)})" if doubts else "")
        return Judgement(text, all(p.acceptable for p in parts))

    def _accuracy(self) -> Judgement:
        baseline, pytorch = self._baseline(), self._pytorch()
        if self.random_weights:
            beside = next((c for c in self.row.comparisons if c.against == self.row.agreement_with), None)
            if beside is None or beside.agreement is None:
                return Judgement("random weights: latency only", True)
            against = "" if beside is pytorch else f" with {beside.against}"
            return Judgement(f"random weights (parity only): {self._agree(beside)}{against}", True)
        if baseline is None:
            held = any(r.agreement_with == self.row.name or is_finer(self.row, r) for r in self.named.values())
            first = "the baseline of this run, " if held else ""
            return Judgement(f"{first}no reference to compare with", True)
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

    def _sees(self, comparison: Comparison) -> Judgement:
        """In words about agreement: for fp32, which should change nothing, and where nothing finer is in the run."""
        change, agreement = comparison.miou_change, comparison.agreement
        name = self._name(comparison)
        if agreement is None:  # of another network size
            return self._kept(comparison) if change else Judgement("no reference to compare with", True)
        value = change.value if change else 0.0
        noise = change is not None and change.known and not (change.below(0) or change.above(0))
        figures = f"mIoU {_signed(value * 100, 2)} points, {'within noise, ' if noise else ''}" if change else ""
        differs = agreement < LOST_AGREEMENT and (self._is_fp32 or change is None)
        if differs and self._is_fp32 and not self.named[comparison.against].is_reference:
            return Judgement(
                f"does not see what {name} sees ({figures}{self._agree(comparison)}): one of the two is wrong, which "
                "PyTorch would tell",
                False,
            )
        if differs or (change and not change.known and value < -LOST_MIOU):
            return Judgement(f"does not see what {name} sees ({figures}{self._agree(comparison)}): do not use", False)
        if _is_lost(comparison):
            return self._lost(comparison)
        if value < -LOST_MIOU:
            return self._kept(comparison)
        if agreement >= SAME_AGREEMENT and (noise or abs(value) < SAME_MIOU):
            return Judgement(f"sees what {name} sees", True)
        return Judgement(f"close to {name} ({figures}{self._agree(comparison)})", True)

    def _lost(self, comparison: Comparison, against: str = "") -> Judgement:
        assert comparison.miou_change is not None
        what = _lost_classes(comparison) or self._fell_most(comparison)
        named = f": {what}" if what else ""
        return Judgement(f"{_change(comparison.miou_change, against)}{named}: do not use", False)

    def _kept(self, comparison: Comparison) -> Judgement:
        change = comparison.miou_change
        assert change is not None
        lost = _lost_classes(comparison)
        named = f": {lost}" if lost else ""
        if not change.known or change.below(0) or change.above(0):
            return Judgement(f"{_change(change)}{named}", change.known or change.value >= -LOST_MIOU)
        if change.value < -LOST_MIOU:
            return Judgement(f"{_change(change)}{named}: too few images to tell", False)
        noise = f"({_signed(change.value * 100, 2)} points, within noise)"
        return Judgement(f"mIoU as {self._name(comparison)}'s {noise}{named}", True)

    def _fell_most(self, comparison: Comparison) -> str:
        """The classes whose IoU fell most, in points: 'Pole −12.1, Fence −8.0'."""
        now, before = self.row.per_class_iou, self.named[comparison.against].per_class_iou
        assert now is not None
        assert before is not None
        changes = ((_number(now, c) - _number(before, c), c) for c in now)
        fell = sorted((change, c) for change, c in changes if change < 0)
        return ", ".join(f"{c} {_signed(change * 100, 1)}" for change, c in fell[:_NAMED])

    def _speeds(self) -> Iterator[Judgement]:
        """Speed beside its like, beside a faster one that is not, and beside PyTorch; doubts with the first of them."""
        own = self._doubts()
        for comparison, judge in self._compared():
            other = self.named[comparison.against]
            doubts = [*own, *(f"{self._name(comparison)}'s {doubt}" for doubt in other.doubts)]
            own = []
            found = judge(comparison)
            yield Judgement(found.text + (f" (doubtful: {'; '.join(doubts)})" if doubts else ""), found.acceptable)

    def _compared(self) -> Iterator[tuple[Comparison, Callable[[Comparison], Judgement]]]:
        others = [self.named[c.against] for c in self.row.comparisons]
        same = [r for r in others if r.size == self.row.size and not r.is_reference]
        rivals = [r for r in same if is_finer(r, self.row) and self.judged[r.name].acceptable]
        like = min((r for r in rivals if is_like(self.row, r)), key=speed, default=None)
        fastest = min(rivals, key=speed, default=None)
        if like is not None:
            yield beside(self.row, like.name), self._beside_rival
        if fastest is not None and fastest is not like and (like is None or speed(fastest) < speed(like)):
            yield beside(self.row, fastest.name), self._beside_rival if like else self._beside_unlike
        if (pytorch := self._pytorch()) is not None:
            yield pytorch, self._beside_pytorch
        elif self._is_fp32 and same:  # the first bundle in fp32
            yield beside(self.row, same[0].name), self._beside_equal

    def _doubts(self) -> list[str]:
        return [*self.row.doubts, *([self.busy] if self.busy else [])]

    def _beside_rival(self, comparison: Comparison, lacking: str = "") -> Judgement:
        """Speed beside an acceptable bundle of higher precision and the same network size."""
        speedup, name = comparison.speedup, self._with_precision(comparison)
        if is_faster(speedup):
            return Judgement(f"{_times(speedup.value)} as fast as {self._with_precision(comparison, lacking)}", True)
        if _is_slower(speedup):
            return Judgement(f"slower than {name}: do not", False)
        return Judgement(f"no faster than {name}: keep {self.named[comparison.against].precision}", True)

    def _beside_unlike(self, comparison: Comparison) -> Judgement:
        """The same where the run has none of higher precision on its engine, in calls of as many images."""
        batch = f" with a batch of {self.row.batch}" if self.row.batch > 1 else ""
        like = f"{self.named[comparison.against].precision} on {self.row.engine}{batch}"
        return self._beside_rival(comparison, f"; {like} in the same run would tell what {self.row.precision} gains")

    def _beside_equal(self, comparison: Comparison) -> Judgement:
        """Speed beside another bundle in fp32."""
        speedup, name = comparison.speedup, self._with_precision(comparison)
        if is_faster(speedup):
            return Judgement(f"{_times(speedup.value)} as fast as {name}", True)
        return Judgement(f"{'slower' if _is_slower(speedup) else 'no faster'} than {name}", True)

    def _beside_pytorch(self, comparison: Comparison) -> Judgement:
        speedup = comparison.speedup
        if _is_slower(speedup) or (not speedup.known and speedup.value < 1):
            return Judgement(f"slower than PyTorch ({speedup.value:.2f}x): do not use", False)
        if speedup.known and not is_faster(speedup):
            return Judgement(f"no faster than PyTorch ({speedup.value:.2f}x, within noise)", True)
        return Judgement(f"{_times(speedup.value)} as fast as PyTorch", True)

    def _with_precision(self, comparison: Comparison, more: str = "") -> str:
        """The other's name, precision, and what of its engine and batch is not this one's."""
        other = self.named[comparison.against]
        engine = f" on {other.engine}" if other.engine != self.row.engine else ""
        batch = f", {other.batch} image{'s' * (other.batch != 1)} a call" if other.batch != self.row.batch else ""
        return f"{other.name} ({other.precision}{engine}{batch}{more})"

    def _name(self, comparison: Comparison) -> str:
        return "PyTorch" if self.named[comparison.against].is_reference else comparison.against

    def _agree(self, comparison: Comparison) -> str:
        assert comparison.agreement is not None
        return f"{_share(comparison.agreement)} of {self.what} agree"


def beside(row: Row, against: str) -> Comparison:
    """The comparison of a row with the one of that name."""
    return next(c for c in row.comparisons if c.against == against)


def is_finer(row: Row, other: Row) -> bool:
    """Whether a row is of higher precision than another."""
    return coarseness(row.precision) < coarseness(other.precision)


def is_like(row: Row, other: Row) -> bool:
    """Whether a difference in speed is the precision's alone."""
    return (row.engine, row.batch) == (other.engine, other.batch)


def speed(row: Row) -> float:
    """Milliseconds of the median call."""
    return row.latency_ms["p50"]


def is_faster(speedup: Interval) -> bool:
    """Whether all of a ratio's interval is above 1."""
    return speedup.above(1 + SAME_SPEED)


def _is_slower(speedup: Interval) -> bool:
    return speedup.below(1 - SAME_SPEED)


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
