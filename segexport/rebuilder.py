"""Bundle -> bundle, for another engine or in another precision; needs neither PyTorch nor the checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from segexport import __version__, machine
from segexport.asked import require_precision
from segexport.assembly import (
    Progress,
    engine_facts,
    finish,
    recipe_for,
    require_options,
    save_recipe,
    silent,
    with_engine_graph,
    with_plan,
)
from segexport.bundle import CACHE, CALIBRATION, ENGINE_GRAPH, MODEL, PLACEMENT, Bundle, Manifest, open_bundle
from segexport.engines import EngineInfo, choose
from segexport.errors import PrecisionError
from segexport.files import new_folder, require_absent
from segexport.graph.graph import open_graph
from segexport.lowering import PORTABLE, Recipe, lower
from segexport.naming import default_folder
from segexport.precision.placement import Placement
from segexport.precision.ranges import Ranges
from segexport.spec import Precision
from segexport.tensorrt.flavour import FLAVOURS
from segexport.tensorrt.options import DEFAULTS, TensorRtOptions
from segexport.tensorrt.planning import TIMINGS


def rebuild(
    source: str | Path | Bundle,
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    precision: Precision | None = None,
    calibration: str | Path | Ranges | None = None,
    samples: int | None = None,
    seed: int = 0,
    placement: str | Path | Placement | None = None,
    device: str | None = None,
    tensorrt: TensorRtOptions = DEFAULTS,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """A new bundle for another engine or in another precision; needs neither PyTorch nor the checkpoint.

    Args:
        source: a bundle, which stays as it is. Other precisions are made of one in fp32; a TensorRT engine of one in
            its own precision too, since `model.onnx` is what TensorRT takes.
        out: the new bundle's folder; `segexport.naming.default_folder` if None.
        engine: as for `build`.
        precision: as for `build`; the source's own if None.
        calibration: as for `build`.
        samples: as for `build`.
        seed: as for `build`.
        placement: as for `build`.
        device: as for `build`.
        tensorrt: as for `build`.
        overwrite: as for `build`.
        progress: as for `build`.

    Raises:
        BundleCorrupt, DataError, EngineUnavailable, OutputError, PrecisionError: see `segexport.errors`.
    """
    if out is not None:
        require_absent(Path(out), overwrite)
    bundle = source if isinstance(source, Bundle) else open_bundle(source)
    had = bundle.manifest.precision
    precision = precision or had
    lowered = PORTABLE[had] != "fp32"
    require_precision(precision, calibration, lowered)
    if lowered and engine == "auto":
        engine = bundle.manifest.engine.name
    chosen = choose(engine, precision)
    require_options(chosen, tensorrt, precision)
    if lowered:
        if calibration is not None or placement is not None:
            raise PrecisionError(
                f"{bundle.folder} is {had} already, and is copied: leave out --calibration and --placement"
            )
        _require_same(bundle, precision, chosen)
    facts = bundle.manifest
    target = Path(out or default_folder(facts.name, facts.contract, facts.preprocessing, precision, chosen.name))
    require_absent(target, overwrite)
    graph = open_graph(bundle.model)
    recipe = (
        Recipe(precision) if lowered else recipe_for(graph, precision, calibration, placement, samples, seed, progress)
    )
    with new_folder(target, overwrite=overwrite) as folder:
        progress("copying the graph")
        portable, lowering = (graph, bundle.manifest.lowering) if lowered else lower(graph, recipe)
        if portable is graph:
            shutil.copy2(bundle.model, folder / MODEL)
        else:
            portable.save(folder / MODEL)
        (folder / "golden").mkdir()
        for path in (bundle.folder / "golden").iterdir():
            if path.stem != "engine":
                shutil.copy2(path, folder / "golden")
        manifest = dataclasses.replace(
            bundle.manifest,
            segexport=__version__,
            precision=precision,
            engine=engine_facts(chosen, device),
            versions=machine.versions(),
            lowering=lowering,
        )
        if lowered:
            _copy(bundle, folder, CALIBRATION, PLACEMENT)
        else:
            save_recipe(folder, recipe)
        if chosen.name in FLAVOURS:
            _copy(bundle, folder, f"{CACHE}/{TIMINGS}")
            manifest = with_plan(folder, manifest, portable, tensorrt, progress)
        elif lowered:
            manifest = _with_copied(bundle, folder, manifest)
        else:
            manifest = with_engine_graph(folder, manifest, graph, portable, recipe, progress)
        del graph, portable, recipe  # the engine is about to load the weights itself
        manifest = finish(folder, manifest, progress)
    return Bundle(target, manifest)


def _require_same(bundle: Bundle, precision: Precision, chosen: EngineInfo) -> None:
    """A graph that was lowered can be copied, or compiled by TensorRT, and nothing else."""
    had, engine = bundle.manifest.precision, bundle.manifest.engine.name
    if precision == had and chosen.name in FLAVOURS:
        return
    if (precision, chosen.name) != (had, engine):
        kept = (
            f", this one's {CALIBRATION} as --calibration, and its {PLACEMENT} as --placement" if had == "int8" else ""
        )
        raise PrecisionError(
            f"{bundle.folder} is {had} for {engine}, and {precision} for {chosen.name} is made of FP32: pass "
            f"--from-bundle with the fp32 bundle{kept}"
        )


def _copy(bundle: Bundle, folder: Path, *names: str) -> None:
    for name in names:
        if (bundle.folder / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy2(bundle.folder / name, folder / name)


def _with_copied(bundle: Bundle, folder: Path, manifest: Manifest) -> Manifest:
    _copy(bundle, folder, ENGINE_GRAPH)
    had = bundle.manifest.engine
    facts = dataclasses.replace(
        manifest.engine, class_map=had.class_map, rewrites=had.rewrites, int8=had.int8, derived=had.derived
    )
    return dataclasses.replace(manifest, engine=facts)
