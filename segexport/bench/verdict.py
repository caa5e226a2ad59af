"""The figures of a run in words: what each row lost and gained, and which one to use.

Rows in, sentences out; `segexport.bench.judgement` has what is said of one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segexport.bench.judgement import Judge, Judgement, beside, is_faster, is_finer, is_like, speed
from segexport.bench.result import Row, coarseness

FEWEST_IMAGES = 10
"""With fewer scored images than this, none is named as the one to use."""


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
    judged: dict[str, Judgement] = {}
    for row in sorted(rows, key=lambda r: coarseness(r.precision)):  # rivals come first
        judged[row.name] = Judge(row, named, judged, random_weights, what, busy).judgement()
    sizes = list(dict.fromkeys(row.size for row in rows))
    chosen = {_chosen([r for r in rows if r.size == size], judged) for size in sizes}
    use = "use this: " if len(sizes) == 1 else "use this at this size: "
    few = f"; too few images to tell whether to use this: {images}, take {FEWEST_IMAGES} or more"
    before, behind = (use, "") if images >= FEWEST_IMAGES else ("", few)
    return tuple(
        f"{before}{judged[row.name].text}{behind}" if row.name in chosen else judged[row.name].text for row in rows
    )


def _chosen(rows: Sequence[Row], judged: Mapping[str, Judgement]) -> str | None:
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
    rivals = {row.name: [r for r in fit if is_finer(r, row)] for row in fit}
    worth = [row for row in fit if all(is_faster(beside(row, r.name).speedup) for r in rivals[row.name])]
    if not worth:
        return None
    best = min(worth, key=speed)
    pytorch = next((c for c in best.comparisons for r in rows if r.is_reference and r.name == c.against), None)
    faster = pytorch is None or is_faster(pytorch.speedup)
    finer = rivals[best.name]
    like = not finer or any(is_like(best, rival) for rival in finer)
    return best.name if faster and like and len({row.batch for row in rows}) == 1 else None
