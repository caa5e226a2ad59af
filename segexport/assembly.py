"""The steps of building a bundle, whatever it is built from."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from segexport import golden, memory, passes
from segexport.bundle import (
    CACHE,
    CALIBRATION,
    ENGINE_GRAPH,
    GOLDEN_IMAGE,
    PLACEMENT,
    Bundle,
    ClassMap,
    EngineFacts,
    Manifest,
    write_manifest,
)
from segexport.calibration.sources import ranges_for
from segexport.decision import agreement
from segexport.engines import ON_GPU, EngineInfo, hardware, info, open_runner
from segexport.engines.rehearsal import rehearse
from segexport.errors import ContractError, PrecisionError
from segexport.graph.graph import Graph
from segexport.graph.halves import parts_stay_equal
from segexport.graph.open_size import open_size
from segexport.images import read_image
from segexport.lowering import PORTABLE, Derived, Recipe, complete, derive, derive_for_tensorrt
from segexport.precision.placement import Placement, read_placement
from segexport.precision.ranges import Ranges
from segexport.spec import Precision
from segexport.tensorrt.device import gpu_named
from segexport.tensorrt.flavour import FLAVOURS
from segexport.tensorrt.loading import fits
from segexport.tensorrt.options import DEFAULTS, TensorRtOptions, opens_batch, opens_size, profiles_of, require_possible
from segexport.tensorrt.planning import make_plan

Progress = Callable[[str], None]
"""Called with the name of each step as it starts."""


def silent(step: str) -> None:
    """No progress."""


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
    ranges = ranges_for(graph, precision, calibration, samples=samples, seed=seed, progress=progress)
    return complete(graph, Recipe(precision, ranges, placement))


def with_engine_graph(
    folder: Path, manifest: Manifest, fp32: Graph, portable: Graph, recipe: Recipe, progress: Progress
) -> Manifest:
    """Write what an engine runs, where it is not the portable graph, and what both were made with."""
    progress("deriving the engine's graph")
    on_cpu = manifest.engine.device == "CPU"  # what pays was measured on CPUs
    derived = derive(fp32, portable, manifest.engine.name, recipe) if on_cpu else Derived(None)
    if derived.graph is not None:
        derived.graph.save(folder / ENGINE_GRAPH)
    on_host = any(result.rewritten for result in derived.rewrites if result.name == passes.ClassMapOnHost.name)
    return _with_derived(manifest, derived, "host" if on_host else "graph")


def with_plan(
    folder: Path, manifest: Manifest, portable: Graph, options: TensorRtOptions, progress: Progress
) -> Manifest:
    """Write the graph that TensorRT compiles, and the plan it makes of that."""
    progress("rewriting the graph for TensorRT")
    profiles = profiles_of(options, portable.contract)
    batch = opens_batch(profiles, portable.contract)
    fixed = not batch and not opens_size(profiles, portable.contract)
    derived = derive_for_tensorrt(portable, options.class_map, options.attention_accumulate, fixed_size=fixed)
    graph = derived.graph or portable
    if not fixed:
        grid = portable.contract.grid
        equal = all(parts_stay_equal(one.least[1:], one.most[1:], grid) for one in profiles)
        graph = open_size(graph, batch=batch, equal_parts=equal)
    graph.save(folder / ENGINE_GRAPH)
    derived = dataclasses.replace(derived, graph=graph)
    on_device = any(result.rewritten for result in derived.rewrites if result.name == passes.ClassMapOnDevice.name)
    manifest = _with_derived(manifest, derived, "device" if on_device else "graph")
    flavour = FLAVOURS[manifest.engine.name]
    plan = make_plan(folder, folder / ENGINE_GRAPH, flavour, options, profiles, progress)
    return dataclasses.replace(manifest, engine=dataclasses.replace(manifest.engine, plan=plan))


def save_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the ranges and the placement that a bundle's precision was made with."""
    if recipe.ranges is not None:
        recipe.ranges.save(folder / CALIBRATION)
    if recipe.placement is not None:
        recipe.placement.save(folder / PLACEMENT)


def _with_derived(manifest: Manifest, derived: Derived, class_map: ClassMap) -> Manifest:
    facts = dataclasses.replace(
        manifest.engine,
        class_map=class_map,
        rewrites=derived.rewrites,
        int8=derived.int8,
        derived=derived.graph is not None,
    )
    return dataclasses.replace(manifest, engine=facts)


def finish(folder: Path, manifest: Manifest, progress: Progress) -> Manifest:
    """Build for the engine, record what it makes of the golden image, and seal the bundle. The manifest it has then."""
    memory.give_freed_memory_back()
    facts = manifest.engine
    can_run = bool(info(facts.name).devices) and (facts.plan is None or fits(facts.plan, gpu_named(None, facts.name)))
    if not can_run:
        facts = dataclasses.replace(facts, machine="")  # whatever is here, it was not run on that
        manifest = dataclasses.replace(manifest, engine=facts)
    progress(f"running {facts.name} {facts.version}" if can_run else "running the engine's graph on the CPU")
    picture = read_image(folder / GOLDEN_IMAGE)
    bundle = Bundle(folder, manifest)
    with open_runner(bundle) if can_run else rehearse(bundle) as runner:
        found = golden.decide(runner, picture)
    if facts.plan is None:
        shutil.rmtree(folder / CACHE, ignore_errors=True)  # by this folder's path, which the bundle will not have
    golden.write(folder, "engine", found, manifest.labels)
    equal = agreement(found, golden.read(folder, "reference"))
    progress("sealing the bundle")
    facts_of_golden = {
        **manifest.golden,
        "seed": golden.GOLDEN_SEED,
        "agreement_with_reference": equal,
        "engine_ran": can_run,
    }
    manifest = dataclasses.replace(manifest, golden=facts_of_golden)
    write_manifest(folder, manifest)
    return manifest


def require_options(chosen: EngineInfo, options: TensorRtOptions, precision: Precision) -> None:
    """Refuse options that the engine does not have, before any work is done for it.

    Raises:
        ContractError: TensorRT's options for another engine.
        EngineUnavailable: an option that this TensorRT lacks.
    """
    if chosen.name in FLAVOURS:
        require_possible(options, FLAVOURS[chosen.name], chosen.version or "", precision)
    elif options != DEFAULTS:
        raise ContractError(
            f"{chosen.name} takes none of TensorRT's options: leave them out, or pass --engine tensorrt-rtx or tensorrt"
        )


def engine_facts(chosen: EngineInfo, device: str | None) -> EngineFacts:
    """What a bundle is built for, before it is."""
    default = "GPU" if chosen.name in ON_GPU else "CPU"
    return EngineFacts(chosen.name, chosen.version or "", device or default, hardware(chosen.name, device))
