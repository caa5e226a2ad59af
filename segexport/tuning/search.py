"""Placements worth building: those that give up the least latency for the noise they take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Of the layers that pay, how many are taken out again, the worst first."""


def candidates(
    groups: Mapping[str, Sequence[str]],
    gains: Mapping[str, float],
    noise: Mapping[str, float],
    default: Sequence[str],
) -> dict[str, tuple[str, ...]]:
    """Names and layers of the placements to build and measure, without repetitions.

    The default one, all layers, all that pay; and of those that pay, with more and more of the noisiest left out. A
    group's gain is shared equally among its layers.

    Args:
        groups: layers by group.
        gains: milliseconds saved by each group in INT8.
        noise: by layer, see `segexport.tuning.sensitivity`.
        default: the default placement.
    """
    order = [name for names in groups.values() for name in names]
    worth = {name: gains[group] / len(names) for group, names in groups.items() for name in names}
    paying = [name for name in order if worth[name] > 0]
    worst = sorted(paying, key=lambda name: noise[name] / worth[name], reverse=True)
    found: dict[str, tuple[str, ...]] = {"all": tuple(order), "default": tuple(default)}
    for share in SHARES:
        dropped = set(worst[: round(share * len(worst))])
        found[f"paying {1 - share:.0%}"] = tuple(name for name in paying if name not in dropped)
    distinct: dict[frozenset[str], str] = {}
    for name, layers in found.items():
        if layers:
            distinct.setdefault(frozenset(layers), name)
    return {name: found[name] for name in distinct.values()}


def predicted_ms(
    base: float, groups: Mapping[str, Sequence[str]], gains: Mapping[str, float], layers: Sequence[str]
) -> float:
    """The cost model's latency of a placement, milliseconds."""
    chosen = set(layers)
    return base - sum(gains[group] * len(chosen.intersection(names)) / len(names) for group, names in groups.items())


def pareto(losses: Mapping[str, float], latencies: Mapping[str, float]) -> set[str]:
    """Those that no other beats in both latency and loss."""
    return {
        name
        for name in losses
        if not any(
            (latencies[other] <= latencies[name] and losses[other] < losses[name])
            or (latencies[other] < latencies[name] and losses[other] <= losses[name])
            for other in losses
        )
    }
