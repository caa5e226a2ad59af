"""The figures of a run in words: what each row lost and gained, and which one to use.

Rows in, sentences out. A difference counts only where the whole 95 % interval lies on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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

FEWEST_IMAGES = 10
"""With fewer scored images than this, none is named as the one to use."""

_NAMED = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class _Judgement:
    """What is said of a row, and whether it may be used: only such a row is a rival to the others."""

    text: str
    acceptable: bool


def verdicts(
    rows: Sequence[Row], *, random_weights: bool, images: int, what: str = "pixels", busy: str = ""
) -> tuple[str, ...]:
    """One sentence a row: can it take the place of what it is compared with, what does it gain, is it the one to use?

    Args:
        rows: of one run, with their comparisons; what `verdict` says in them is ignored.
        random_weights: accuracy then means nothing.
        images: how many were scored.
        what: what agrees, for the sentence: pixels, or images of a classifier.
        busy: what makes all ratios doubtful, such as "the machine was busy"; said beside them.
    """
    named = {row.name: row for row in rows}
    judged: dict[str, _Judgement] = {}
    for row in sorted(rows, key=lambda r: coarseness(r.precision)):  # rivals come first
        judged[row.name] = _Judge(row, named, judged, random_weights, what, busy).judgement()
    sizes = list(dict.fromkeys(row.size for row in rows))
    chosen = {_chosen([r for r in rows if r.size == size], judged) for size in sizes}
    use = "use this: " if len(sizes) == 1 else "use this at this size: "
    few = f"; too few images to tell whether to use this: {images}, take {FEWEST_IMAGES} or more"
    before, behind = (use, "") if images >= FEWEST_IMAGES else ("", few)
    return tuple(
        f"{before}{judged[row.name].text}{behind}" if row.name in chosen else judged[row.name].text for row in rows
    )


def _chosen(rows: Sequence[Row], judged: Mapping[str, _Judgement]) -> str | None:
    """The fastest of the acceptable rows that is faster, beyond noise, than PyTorch and all of higher precision.

    None where there is nothing to choose between, where the images do not allow it, or where the fastest was not
    measured beside its like.

    Args:
        rows: of one network size.
        judged: what was said of them.
    """
    bundles = [row for row in rows if not row.is_reference]
    known = all(row.miou_interval is not None and row.miou_interval.known for row in bundles)
    if len({row.precision for row in bundles}) < 2 or not known:
        return None
    fit = [row for row in bundles if judged[row.name].acceptable]
    rivals = {row.name: [r for r in fit if _is_finer(r, row)] for row in fit}
    worth = [row for row in fit if all(_is_faster(_beside(row, r.name).speedup) for r in rivals[row.name])]
    if not worth:
        return None
    best = min(worth, key=_speed)
    pytorch = next((c for c in best.comparisons for r in rows if r.is_reference and r.name == c.against), None)
    faster = pytorch is None or _is_faster(pytorch.speedup)
    finer = rivals[best.name]
    like = not finer or any(_is_like(best, rival) for rival in finer)
    return best.name if faster and like and len({row.batch for row in rows}) == 1 else None


@dataclass(frozen=True)
class _Judge:
    """Judges `row` by the run's rows and by what was said of those of higher precision."""

    row: Row
    named: Mapping[str, Row]
    judged: Mapping[str, _Judgement]
    random_weights: bool
    what: str
    busy: str

    def judgement(self) -> _Judgement:
        """The whole sentence, but for "use this"."""
        if self.row.is_reference:
            return _Judgement("the reference", False)
        accuracy, speeds = self._accuracy(), list(self._speeds())
        doubts = [] if speeds else self._doubts()
        parts = [accuracy, *speeds]
        text = ", ".join(p.text for p in parts) + (f" (its times are doubtful: {'; '.join(doubts)})" if doubts else "")
        return _Judgement(text, all(p.acceptable for p in parts))

    def _accuracy(self) -> _Judgement:
        baseline, pytorch = self._baseline(), self._pytorch()
        if self.random_weights:
            beside = next((c for c in self.row.comparisons if c.against == self.row.agreement_with), None)
            if beside is None or beside.agreement is None:
                return _Judgement("random weights: latency only", True)
            against = "" if beside is pytorch else f" with {beside.against}"
            return _Judgement(f"random weights (parity only): {self._agree(beside)}{against}", True)
        if baseline is None:
            held = any(r.agreement_with == self.row.name or _is_finer(self.row, r) for r in self.named.values())
            first = "the baseline of this run, " if held else ""
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
        if differs and self._is_fp32 and not self.named[comparison.against].is_reference:
            return _Judgement(
                f"does not see what {name} sees ({figures}{self._agree(comparison)}): one of the two is wrong, which "
                "PyTorch would tell",
                False,
            )
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

    def _speeds(self) -> Iterator[_Judgement]:
        """Speed beside its like, beside a faster one that is not, and beside PyTorch; doubts with the first of them."""
        own = self._doubts()
        for comparison, judge in self._compared():
            other = self.named[comparison.against]
            doubts = [*own, *(f"{self._name(comparison)}'s {doubt}" for doubt in other.doubts)]
            own = []
            found = judge(comparison)
            yield _Judgement(found.text + (f" (doubtful: {'; '.join(doubts)})" if doubts else ""), found.acceptable)

    def _compared(self) -> Iterator[tuple[Comparison, Callable[[Comparison], _Judgement]]]:
        others = [self.named[c.against] for c in self.row.comparisons]
        same = [r for r in others if r.size == self.row.size and not r.is_reference]
        rivals = [r for r in same if _is_finer(r, self.row) and self.judged[r.name].acceptable]
        like = min((r for r in rivals if _is_like(self.row, r)), key=_speed, default=None)
        fastest = min(rivals, key=_speed, default=None)
        if like is not None:
            yield _beside(self.row, like.name), self._beside_rival
        if fastest is not None and fastest is not like and (like is None or _speed(fastest) < _speed(like)):
            yield _beside(self.row, fastest.name), self._beside_rival if like else self._beside_unlike
        if (pytorch := self._pytorch()) is not None:
            yield pytorch, self._beside_pytorch
        elif self._is_fp32 and same:  # the first bundle in fp32
            yield _beside(self.row, same[0].name), self._beside_equal

    def _doubts(self) -> list[str]:
        return [*self.row.doubts, *([self.busy] if self.busy else [])]

    def _beside_rival(self, comparison: Comparison, lacking: str = "") -> _Judgement:
        """Speed beside an acceptable bundle of higher precision and the same network size."""
        speedup, name = comparison.speedup, self._with_precision(comparison)
        if _is_faster(speedup):
            return _Judgement(f"{_times(speedup.value)} as fast as {self._with_precision(comparison, lacking)}", True)
        if _is_slower(speedup):
            return _Judgement(f"slower than {name}: do not", False)
        return _Judgement(f"no faster than {name}: keep {self.named[comparison.against].precision}", True)

    def _beside_unlike(self, comparison: Comparison) -> _Judgement:
        """The same where the run has none of higher precision on its engine, in calls of as many images."""
        batch = f" with a batch of {self.row.batch}" if self.row.batch > 1 else ""
        like = f"{self.named[comparison.against].precision} on {self.row.engine}{batch}"
        return self._beside_rival(comparison, f"; {like} in the same run would tell what {self.row.precision} gains")

    def _beside_equal(self, comparison: Comparison) -> _Judgement:
        """Speed beside another bundle in fp32."""
        speedup, name = comparison.speedup, self._with_precision(comparison)
        if _is_faster(speedup):
            return _Judgement(f"{_times(speedup.value)} as fast as {name}", True)
        return _Judgement(f"{'slower' if _is_slower(speedup) else 'no faster'} than {name}", True)

    def _beside_pytorch(self, comparison: Comparison) -> _Judgement:
        speedup = comparison.speedup
        if _is_slower(speedup) or (not speedup.known and speedup.value < 1):
            return _Judgement(f"slower than PyTorch ({speedup.value:.2f}x): do not use", False)
        if speedup.known and not _is_faster(speedup):
            return _Judgement(f"no faster than PyTorch ({speedup.value:.2f}x, within noise)", True)
        return _Judgement(f"{_times(speedup.value)} as fast as PyTorch", True)

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


def _beside(row: Row, against: str) -> Comparison:
    return next(c for c in row.comparisons if c.against == against)


def _is_finer(row: Row, other: Row) -> bool:
    return coarseness(row.precision) < coarseness(other.precision)


def _is_like(row: Row, other: Row) -> bool:
    """Whether a difference in speed is the precision's alone."""
    return (row.engine, row.batch) == (other.engine, other.batch)


def _speed(row: Row) -> float:
    """Milliseconds of the median call."""
    return row.latency_ms["p50"]


def _is_faster(speedup: Interval) -> bool:
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
