"""Which of the measured placements is taken, and the sentence that says why. Pure: it measures nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segexport.spec import Precision
from segexport.tuning.result import Point

_TRIES = 3
"""Placements that are taken to the confirming images before the search gives up."""


@dataclass(frozen=True)
class Choice:
    """`name` is the placement's, None where a higher `precision` is better; `confirmed` is what other images said."""

    name: str | None
    precision: Precision
    why: str
    confirmed: tuple[Point, ...] = ()


def choose(points: Sequence[Point], budget: float, confirm: Callable[[str], Point]) -> Choice:
    """The fastest placement within the budget that beats every higher precision, also on the confirming images.

    Args:
        points: fp32, the other higher precisions and the placements, as measured on the images searched on.
        budget: points of mIoU that may be lost against fp32.
        confirm: measures a placement on the other images.
    """
    within = sorted((p for p in points if -p.change * 100 <= budget), key=lambda p: p.latency_ms)
    higher = next(p for p in within if p.precision != "int8")
    eligible = [p for p in within if p.precision == "int8"]
    if not eligible:
        least = min(-p.change for p in points if p.precision == "int8") * 100
        why = f"no placement stays within {budget:g} points of mIoU, the least loss is {least:.2f}"
        return Choice(None, higher.precision, f"{why}: use {higher.precision}, or raise --budget")
    faster = [p for p in eligible if p.beats_higher]
    if not faster:
        why = (
            f"nothing beats {higher.precision}: within {budget:g} points of mIoU, the fastest INT8 takes "
            f"{eligible[0].latency_ms:.1f} ms against {higher.latency_ms:.1f} ms, no gain beyond noise"
        )
        return Choice(None, higher.precision, why)
    confirmed: list[Point] = []
    for point in faster[:_TRIES]:
        found = confirm(point.name)
        confirmed.append(found)
        if -found.change * 100 <= budget and found.beats_higher:
            why = (
                f"{point.name}: {found.speedup.value:.2f}x as fast as fp32 at {found.change * 100:+.2f} points of mIoU "
                "on images that the search did not see"
            )
            return Choice(point.name, "int8", why, tuple(confirmed))
    why = (
        f"what was found did not hold on other images, where it lost more or gained nothing beyond noise: use "
        f"{higher.precision}, or search on more images"
    )
    return Choice(None, higher.precision, why, tuple(confirmed))
