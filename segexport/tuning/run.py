"""A search from whatever is named to a folder of findings, or to the bundle that it ends in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport.builder import build, fp32_graph
from segexport.bundle import CALIBRATION, PLACEMENT, Bundle, open_bundle
from segexport.calibration.sources import ranges_for
from segexport.engines import choose
from segexport.errors import ContractError, PrecisionError
from segexport.files import new_folder, require_absent
from segexport.naming import default_folder
from segexport.precision.ranges import Ranges
from segexport.rebuilder import rebuild
from segexport.report import pareto
from segexport.tuning import Tuning, tune

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Search:
    """What a search is asked: see `segexport.tuning.tune` and `segexport.calibration.sources.ranges_for`."""

    data: Path
    calibration: Path
    confirm: Path | None = None
    budget: float = 0.5
    samples: int | None = None
    seed: int = 0
    limit: int | None = None
    threads: int | None = None


def tune_to_folder(
    out: str | Path,
    search: Search,
    *,
    model: str | Path | None = None,
    from_bundle: str | Path | None = None,
    engine: str = "auto",
    overwrite: bool = False,
    progress: Progress = lambda step: None,
    **options: Any,
) -> Tuning:
    """Search, and write what was found.

    Args:
        out: gets `placement.json` and `calibration.json`, for `build`, `tuning.json` with all that was measured,
            `pareto.md`, and `pareto.png` where matplotlib is installed.
        search: what is asked.
        model: a checkpoint, or
        from_bundle: a bundle in fp32.
        engine: the engine to be fast on.
        overwrite: replace an earlier search's folder.
        progress: told the name of each step as it starts.
        **options: of `segexport.build`, with a model.

    Raises:
        SegexportError: see `segexport.tuning.tune`, `segexport.build` and `segexport.calibrate`.
    """
    require_absent(Path(out), overwrite, PLACEMENT)
    with _fp32(model, from_bundle, engine, progress, options) as bundle:
        found, ranges = _search(bundle, search, engine, progress)
    with new_folder(Path(out), overwrite=overwrite, marker=PLACEMENT) as folder:
        found.placement.save(folder / PLACEMENT)
        ranges.save(folder / CALIBRATION)
        (folder / "tuning.json").write_text(found.as_text(), encoding="utf-8")
        (folder / "pareto.md").write_text(pareto.markdown(found), encoding="utf-8")
        if pareto.can_draw():
            pareto.draw(found, folder / "pareto.png")
    return found


def build_auto(
    out: str | Path | None,
    search: Search,
    *,
    model: str | Path | None = None,
    from_bundle: str | Path | None = None,
    engine: str = "auto",
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda step: None,
    **options: Any,
) -> tuple[Bundle, Tuning]:
    """Search, and build what the search ends in: INT8 where it pays within the budget, else the best higher precision.

    Args:
        out: the bundle's folder; `segexport.naming.default_folder` for precision `auto` if None.
        search: what is asked.
        model: a checkpoint, or
        from_bundle: a bundle in fp32.
        engine: as for `segexport.build`.
        device: as for `segexport.build`.
        overwrite: replace a bundle that stands at `out`.
        progress: told the name of each step as it starts.
        **options: of `segexport.build`, with a model.

    Raises:
        SegexportError: see `segexport.tuning.tune`, `segexport.build` and `segexport.calibrate`.
    """
    if out is not None:
        require_absent(Path(out), overwrite)
    fast = choose(engine, "int8").name  # the one to be fast on
    with _fp32(model, from_bundle, engine, progress, options) as bundle:
        facts = bundle.manifest
        target = Path(out or default_folder(facts.name, facts.contract, facts.preprocessing, "auto", fast))
        require_absent(target, overwrite)
        found, ranges = _search(bundle, search, fast, progress)
        placement = found.placement
        built = rebuild(
            bundle,
            target,
            engine=found.engine,
            precision=placement.precision,
            calibration=ranges if placement.int8 else None,
            placement=placement if placement.int8 else None,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    return built, found


@contextmanager
def _fp32(
    model: str | Path | None,
    from_bundle: str | Path | None,
    engine: str,
    progress: Progress,
    options: dict[str, Any],
) -> Iterator[Bundle]:
    """The bundle to start from; one of a checkpoint is gone afterwards."""
    if (model is None) == (from_bundle is None):
        raise ContractError("name what to tune: --model CHECKPOINT, or --from-bundle DIR, and not both")
    if from_bundle is not None:
        yield open_bundle(from_bundle)
        return
    with tempfile.TemporaryDirectory(prefix="segexport-fp32-") as folder:
        yield build(model or "", Path(folder) / "fp32", engine=engine, progress=progress, **options)


def _search(bundle: Bundle, search: Search, engine: str, progress: Progress) -> tuple[Tuning, Ranges]:
    ranges = ranges_for(
        fp32_graph(bundle),
        "int8",
        search.calibration,
        samples=search.samples,
        seed=search.seed,
        progress=progress,
    )
    if ranges is None:
        raise PrecisionError("a search needs ranges of activations: pass --calibration with a folder or a table")
    found = tune(
        bundle,
        search.data,
        ranges=ranges,
        confirm=search.confirm,
        budget=search.budget,
        engine=engine,
        limit=search.limit,
        threads=search.threads,
        progress=progress,
    )
    return found, ranges
