"""The steps of building a bundle, whatever it is built from."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from segexport import golden, passes
from segexport.bundle import (
    CACHE,
    CALIBRATION,
    ENGINE_GRAPH,
    GOLDEN_IMAGE,
    PLACEMENT,
    Bundle,
    EngineFacts,
    Manifest,
    write_manifest,
)
from segexport.calibration.sources import ranges_for
from segexport.decision import agreement
from segexport.engines import EngineInfo, open_runner
from segexport.errors import ContractError, PrecisionError
from segexport.graph.graph import Graph
from segexport.images import read_image
from segexport.lowering import PORTABLE, Derived, Recipe, complete, derive
from segexport.machine import processor
from segexport.precision.placement import Placement, read_placement
from segexport.precision.ranges import Ranges
from segexport.spec import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Progress = Callable[[str], None]
"""Called with the name of each step as it starts."""


def silent(step: str) -> None:
    """No progress."""


def images_done(progress: Progress) -> Callable[[int, int], None]:
    """A builder's progress as a calibration reports it."""
    return lambda done, total: progress(f"calibrating: image {done} of {total}")


def recipe_for(
    graph: Graph,
    precision: Precision,
    calibration: str | Path | Ranges | None,
    placement: str | Path | Placement | None,
    samples: int | None,
    seed: int,
    progress: Progress,
) -> Recipe:
    """What the graphs of a precision are made with: tables and placements read, folders of images calibrated on."""
    if calibration is not None and PORTABLE[precision] == "fp32":
        raise PrecisionError(f"{precision} takes no --calibration: leave it out, or pass --precision fp16 or int8")
    if placement is not None and precision != "int8":
        raise PrecisionError(f"{precision} takes no --placement: leave it out, or pass --precision int8")
    if precision == "int8" and isinstance(placement, str | Path):
        placement = read_placement(Path(placement))
    elif not isinstance(placement, Placement):
        placement = None
    ranges = ranges_for(graph, precision, calibration, samples=samples, seed=seed, progress=images_done(progress))
    return complete(graph, Recipe(precision, ranges, placement))


def with_engine_graph(
    folder: Path, manifest: Manifest, fp32: Graph, portable: Graph, recipe: Recipe, progress: Progress
) -> Manifest:
    """Write what the engine runs, where it is not the portable graph, and what both were made with."""
    progress("deriving the engine's graph")
    on_cpu = manifest.engine.device == "CPU"  # what pays was measured on CPUs
    derived = derive(fp32, portable, manifest.engine.name, recipe) if on_cpu else Derived(None)
    if derived.graph is not None:
        derived.graph.save(folder / ENGINE_GRAPH)
    if recipe.ranges is not None:
        recipe.ranges.save(folder / CALIBRATION)
    if recipe.placement is not None:
        recipe.placement.save(folder / PLACEMENT)
    on_host = any(result.rewritten for result in derived.rewrites if result.name == passes.ClassMapOnHost.name)
    facts = dataclasses.replace(
        manifest.engine,
        class_map="host" if on_host else "graph",
        rewrites=derived.rewrites,
        int8=derived.int8,
        derived=derived.graph is not None,
    )
    return dataclasses.replace(manifest, engine=facts)


def finish(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Build for the engine, record what it makes of the golden image, and seal the bundle."""
    facts = manifest.engine
    progress(f"building for {facts.name} {facts.version}")
    picture = read_image(folder / GOLDEN_IMAGE)
    with open_runner(Bundle(folder, manifest)) as runner:
        found = golden.decide(runner, picture)
    shutil.rmtree(folder / CACHE, ignore_errors=True)  # by this folder's path, which the bundle will not have
    golden.write(folder, "engine", found, manifest.labels)
    equal = agreement(found, golden.read(folder, "reference"))
    progress("sealing the bundle")
    facts_of_golden = {**manifest.golden, "seed": golden.GOLDEN_SEED, "agreement_with_pytorch": equal}
    write_manifest(folder, dataclasses.replace(manifest, golden=facts_of_golden))


def require_precision(precision: str, calibration: object, has_ranges: bool = False) -> None:
    """Refuse what cannot be built before any work is done for it.

    Raises:
        ContractError: no such precision.
        PrecisionError: int8 without images to calibrate on.
    """
    if precision not in PRECISIONS:
        raise ContractError(f"precision {precision} cannot be built: pass --precision {' or '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None and not has_ranges:
        raise PrecisionError(
            "int8 needs the ranges of activations on your images: pass --calibration with a folder of them, or with a "
            "table of segexport calibrate"
        )


def engine_facts(chosen: EngineInfo, device: str | None) -> EngineFacts:
    """What a bundle is built for, before it is."""
    return EngineFacts(chosen.name, chosen.version or "", device or "CPU", processor())
