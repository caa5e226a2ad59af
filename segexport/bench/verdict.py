"""A row's figures in words."""

from __future__ import annotations

SAME_AGREEMENT = 0.999
SAME_MIOU = 0.0005
"""An mIoU difference below 0.05 points is one of rounding, not of accuracy."""

LOST_MIOU = 0.01
LOST_AGREEMENT = 0.98


def verdict(
    *,
    speedup: float | None,
    miou_change: float | None,
    agreement: float | None,
    random_weights: bool,
    what: str = "pixels",
) -> str:
    """One sentence: can this engine take the reference's place, and what does it gain?

    Args:
        speedup: the reference's median latency over this engine's; None without a reference.
        miou_change: this engine's mIoU minus the reference's, as a fraction; None when not measured.
        agreement: share of pixels (or images, for a classifier) with the reference's class.
        random_weights: accuracy then means nothing.
        what: what agrees, for the sentence.
    """
    if speedup is None or agreement is None:
        return "random weights: latency only" if random_weights else "no reference to compare with"
    pace = f"{speedup:.1f}x as fast as PyTorch" if speedup >= 1 else f"slower than PyTorch ({speedup:.2f}x): do not use"
    agrees = f"{_share(agreement)} of {what} agree"
    if random_weights:
        return f"random weights (parity only): {agrees}, {pace}"
    loss = -miou_change if miou_change is not None else 0.0
    if agreement >= SAME_AGREEMENT and abs(loss) < SAME_MIOU:
        sees = "sees what PyTorch sees"
    elif loss > LOST_MIOU or agreement < LOST_AGREEMENT:
        sees = f"does not see what PyTorch sees (mIoU {_points(miou_change)}, {agrees}): do not use"
    else:
        sees = f"close to PyTorch (mIoU {_points(miou_change)}, {agrees})"
    return f"{sees}, {pace}"


def _points(change: float | None) -> str:
    return "not measured" if change is None else f"{change * 100:+.2f} points"


def _share(value: float) -> str:
    """A percentage that says 100 % only of all."""
    if value == 1.0:
        return "100 %"
    return f"{min(value * 100, 99.999):.3f} %"
