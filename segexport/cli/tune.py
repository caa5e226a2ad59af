"""Commands that measure what a build in a lower precision needs: calibration tables, and INT8 placements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import segexport
from segexport.cli import console, options
from segexport.cli.options import COUNT, ENGINE, PATH, size_of

if TYPE_CHECKING:
    from segexport.tuning.result import Measured


@click.command(cls=options.Command)
@click.option(
    "--data", type=PATH, required=True, help="Folder of images, or of images/; or a Hugging Face data set folder."
)
@click.option("--out", "-o", "out_file", type=PATH, required=True, help="The table to write, JSON.")
@options.model
@options.from_bundle
@click.option("--size", help="HEIGHTxWIDTH of the network's input, as for build.")
@click.option("--samples", type=COUNT, help="Images to take; 64, or all of fewer, if not given.")
@options.draw_seed
@click.option("--overwrite", is_flag=True, help="Replace the table that stands at --out.")
def calibrate(
    data: Path,
    out_file: Path,
    model: str | None,
    from_bundle: Path | None,
    size: str | None,
    samples: int | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Run the FP32 graph on images and record the ranges that fp16 and int8 are built with."""
    from segexport.files import require_new_file
    from segexport.report import summary
    from segexport.report.steps import steps

    require_new_file(out_file, overwrite)
    with steps(console.err) as progress:
        graph = segexport.graph_of(model, from_bundle, size=size_of(size), progress=progress)
        ranges = segexport.calibrate(graph, data, samples=samples, seed=seed, progress=progress)
    ranges.save(out_file)
    for line in summary.of_ranges(ranges):
        console.out.print(line)


@click.command(cls=options.Command)
@click.option("--data", type=PATH, required=True, help="Labelled images to search on, as for bench.")
@click.option(
    "--calibration", type=PATH, required=True, help="A folder of other images, or a table of segexport calibrate."
)
@click.option(
    "--out", "-o", "out_dir", type=PATH, required=True, help="Folder for the placement and all that was measured."
)
@options.model
@options.from_bundle
@click.option("--confirm", type=PATH, help="Images to confirm on; every other one of --data if not given.")
@click.option("--budget", default=0.5, help="Points of mIoU that may be lost against fp32.")
@click.option("--engine", type=ENGINE, default="auto", help="The engine to be fast on; auto is the best installed.")
@click.option("--size", help="HEIGHTxWIDTH of the network's input, with --model.")
@click.option("--samples", type=COUNT, help="Images to calibrate on; 64 if not given.")
@options.draw_seed
@options.limit
@click.option("--threads", type=COUNT, help="CPU threads; the engine's default if not given.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier search at --out.")
def tune(
    data: Path,
    calibration: Path,
    out_dir: Path,
    model: str | None,
    from_bundle: Path | None,
    confirm: Path | None,
    budget: float,
    engine: str,
    size: str | None,
    samples: int | None,
    seed: int,
    limit: int | None,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Search the fastest INT8 placement within a budget of mIoU, measured on the engine at hand."""
    from segexport.report import pareto
    from segexport.report.steps import steps
    from segexport.tuning import SearchStopped, run

    search = run.Search(data, calibration, confirm, budget, samples, seed, limit, threads)
    contract = {"size": size_of(size)} if model is not None else {}
    try:
        with steps(console.err) as progress:
            found = run.tune_to_folder(
                out_dir,
                search,
                model=model,
                from_bundle=from_bundle,
                engine=engine,
                overwrite=overwrite,
                progress=progress,
                **contract,
            )
    except SearchStopped as stopped:
        show(stopped.found)
        raise
    show(found)
    console.out.print(f"placement  {out_dir / 'placement.json'}" if found.placement.int8 else f"written    {out_dir}")
    if not pareto.can_draw():
        console.out.print(pareto.NO_PICTURE)


def show(found: Measured) -> None:
    """Print what a search found, or had found when it was stopped."""
    from segexport.report import pareto

    for part in pareto.parts(found):
        console.out.print(part, markup=False)
