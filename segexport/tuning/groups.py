"""Layers in groups whose latency can be measured: three in every stage, and the two ends of the network."""

from __future__ import annotations

from collections.abc import Iterable

from segexport.inspection import stage_of
from segexport.precision.layers import Layer


def grouped(layers: Iterable[Layer]) -> dict[str, tuple[str, ...]]:
    """Names of layers by group, both in the graph's order.

    The first convolution; of every stage its attention (with the patch embedding before it), feed-forward layers and
    depthwise convolutions; the decode head; the classifier. Fifteen are measured in sixteen bundles
    (`segexport.tuning.cost`), one more would take thirty-two.
    """
    found: dict[str, list[str]] = {}
    for layer in layers:
        found.setdefault(_group_of(layer) if found else "first convolution", []).append(layer.name)
    return {group: tuple(names) for group, names in found.items()}


def _group_of(layer: Layer) -> str:
    stage = stage_of(f"{layer.name}/")
    if layer.name.endswith("classifier"):
        return "classifier"
    if not stage.startswith("stage"):
        return stage
    if layer.kind == "depthwise":
        return f"{stage} depthwise"
    return f"{stage} feed-forward" if ".mlp." in layer.name else f"{stage} attention"
