"""Search the fastest INT8 placement within an accuracy budget, on the engine and the images at hand.

1. Sensitivity: the noise that each layer alone, in INT8, puts on the logits.
2. Cost: the latency that each group of layers saves, from measured bundles.
3. Candidates: placements that give up least latency for the noise they avoid, each built and benchmarked on the tuning
   images beside the higher precisions.
4. Choice: the fastest that loses at most the budget and is faster than every higher precision beyond noise; confirmed
   on images that the search did not see.

Everything is measured by `segexport.bench`, in bundles like those that ship.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from segexport import engines
from segexport.builder import fp32_graph
from segexport.bundle import Bundle, open_bundle
from segexport.datasets import LabelledImages, Subset, open_data
from segexport.errors import ContractError, DataError
from segexport.graph.graph import Graph
from segexport.precision.layers import layers
from segexport.precision.placement import Placement, default_placement
from segexport.precision.ranges import Ranges
from segexport.tuning import search
from segexport.tuning.choice import choose
from segexport.tuning.groups import grouped
from segexport.tuning.result import Measured, Point, Tuning
from segexport.tuning.sensitivity import sensitivities
from segexport.tuning.workbench import Workbench, measure_candidates, measure_gains, measure_one, with_pareto

__all__ = ["Point", "SearchStopped", "Tuning", "tune"]

Progress = Callable[[str], None]


class SearchStopped(KeyboardInterrupt):
    """Ctrl-C, with what the search had measured by then. No placement is chosen of it."""

    def __init__(self, found: Measured) -> None:
        super().__init__()
        self.found = found


def tune(
    source: str | Path | Bundle,
    data: str | Path,
    *,
    ranges: Ranges,
    confirm: str | Path | None = None,
    budget: float = 0.5,
    engine: str = "auto",
    limit: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda step: None,
) -> Tuning:
    """The fastest placement of INT8 that loses at most `budget` points of mIoU, or the finding that none pays.

    Args:
        source: a bundle in fp32, for any engine.
        data: labelled images to search on.
        ranges: of the bundle's weights and size; from other images than `data`.
        confirm: labelled images to confirm on; if None, every other image of `data`, which then are not searched on.
        budget: points of mIoU (0.5 is half a per cent) that may be lost against fp32.
        engine: as for `segexport.build`.
        limit: the first so many images of each.
        threads: CPU threads.
        progress: told the name of each step as it starts, and behind it how much of it is done: "cost: call 3 of 60".

    Raises:
        ContractError: random weights or a classifier, of which no mIoU can be had; a negative budget.
        DataError: `confirm` is `data`, or too few images to split.
        EngineUnavailable: no engine computes in int8 here.
        PrecisionError: the bundle is not in fp32, or the ranges are not its.
        SearchStopped: by Ctrl-C.
    """
    bundle = source if isinstance(source, Bundle) else open_bundle(source)
    graph = _graph(bundle, ranges, budget)
    chosen = engines.choose(engine, "int8")
    search_on, confirm_on = _splits(graph, Path(data), None if confirm is None else Path(confirm), limit)
    groups = grouped(layers(graph.model.graph))
    found = Measured(
        engine=chosen.name,
        budget=budget,
        searched_on=search_on.name,
        confirmed_on=confirm_on.name,
        groups=groups,
    )
    step = "its beginning"

    def told(now: str) -> None:
        nonlocal step
        step = now
        progress(now)

    def confirmed(name: str) -> Point:
        nonlocal found
        point = measure_one(bench, name, placements[name], confirm_on, told)
        found = replace(found, confirmed=(*found.confirmed, point))
        return point

    try:
        with tempfile.TemporaryDirectory(prefix="segexport-tune-") as folder:
            bench = Workbench(Path(folder), bundle, ranges, chosen.name, threads)
            bench.add_higher(chosen.precisions)
            found = replace(found, noise=sensitivities(graph, ranges, search_on, chosen.name, told))
            gains, base = measure_gains(bench, groups, search_on, told)
            found = replace(found, gains_ms=gains)
            placements = search.candidates(groups, gains, found.noise, default_placement(graph.model.graph).int8)
            predicted = {name: search.predicted_ms(base, groups, gains, names) for name, names in placements.items()}
            for point in measure_candidates(bench, placements, predicted, search_on, told):
                found = replace(found, points=(*found.points, point))
            found = replace(found, points=with_pareto(found.points))
            choice = choose(found.points, budget, confirmed)
    except KeyboardInterrupt:
        why = f"none, as the search was stopped at {step}: no placement is chosen, and nothing is written"
        raise SearchStopped(replace(found, why=why)) from None
    facts = {
        "budget": budget,
        "searched_on": search_on.name,
        "confirmed_on": confirm_on.name,
        "why": choice.why,
    }
    int8 = tuple(placements[choice.name]) if choice.name is not None else ()
    placement = Placement(int8, choice.precision, chosen.name, graph.source.weights_sha256, facts)
    return Tuning(**vars(replace(found, chosen=choice.name, why=choice.why)), placement=placement)


def _graph(bundle: Bundle, ranges: Ranges, budget: float) -> Graph:
    manifest = bundle.manifest
    graph = fp32_graph(bundle)
    if manifest.source.random_weights:
        raise ContractError(f"{bundle.folder} has random weights, whose mIoU says nothing: tune trained ones")
    if manifest.contract.mask_size is None:
        raise ContractError(f"{bundle.folder} is an image classifier, which has no mIoU: tune a segmentation network")
    if budget < 0:
        raise ContractError(f"a budget of {budget} points is negative: pass --budget 0 or more")
    ranges.require_for(graph)
    return graph


def _splits(graph: Graph, data: Path, confirm: Path | None, limit: int | None) -> tuple[LabelledImages, LabelledImages]:
    images = open_data(data, graph.labels, limit=limit)
    if confirm is not None:
        if confirm.resolve() == data.resolve():
            raise DataError(f"{confirm} is what is searched on: pass --confirm with other images, or leave it out")
        return images, open_data(confirm, graph.labels, limit=limit)
    if len(images) < 4:
        raise DataError(f"{data} holds {len(images)} images, too few to search on some and confirm on others")
    return (
        Subset(images, range(0, len(images), 2), "every other image"),
        Subset(images, range(1, len(images), 2), "the images between"),
    )
