"""`segexport bench`: what bundles are worth beside PyTorch and each other."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import segexport
from segexport.cli import console, options
from segexport.cli.options import COUNT, NAME, PATH, Argument
from segexport.errors import ContractError, SegexportError

if TYPE_CHECKING:
    from segexport.bench import Result
    from segexport.bundle import Bundle


@click.command(cls=options.Command)
@click.argument(
    "names",
    type=NAME,
    nargs=-1,
    cls=Argument,
    help="Bundles, names of checkpoints, or checkpoints; every bundle below bundles/ if none.",
)
@click.option(
    "--data", type=PATH, help="Labelled images, in any layout of docs/data.md; generated scenes if not given."
)
@options.json_figures
@click.option("--markdown", "markdown_file", type=PATH, help="Write the table here.")
@options.limit
@options.threads
@click.option("--concurrency", type=COUNT, default=1, help="Callers at once, to measure throughput with.")
@click.option("--batch", type=COUNT, help="Images a call, of bundles built with --batch dynamic.")
@click.option("--reference", type=NAME, metavar="NAME", help="The checkpoint, if it is not where the bundles say.")
@click.option("--no-reference", is_flag=True, help="Leave PyTorch out.")
@click.option("--explain", is_flag=True, help="Say, too, at which layers, images and classes they differ from fp32.")
def bench(
    names: tuple[str, ...],
    data: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    limit: int | None,
    threads: int | None,
    concurrency: int,
    batch: int | None,
    reference: str | None,
    no_reference: bool,
    explain: bool,
) -> None:
    """Latency, throughput, mIoU and agreement of bundles beside PyTorch, on the same images in one run.

    One table for each set of weights. Without --data the images are generated scenes: latency and agreement, no mIoU.
    """
    if reference is not None and no_reference:
        raise ContractError("--reference and --no-reference exclude each other: leave one of them out")
    if explain and data is None:
        raise ContractError("--explain names images and classes: pass --data too")
    from segexport.bench.choosing import choose
    from segexport.bench.explain import open_comparable
    from segexport.report.steps import bar, steps

    with steps(console.err) as progress:
        choice = choose(names, progress)
    for line in choice.said:
        console.err.print(line, markup=False)
    several = len(choice.sets) > 1
    if several and (json_file or markdown_file or reference):
        option = "--json" if json_file else "--markdown" if markdown_file else "--reference"
        found = ", ".join(one.name for one in choice.sets)
        raise ContractError(
            f"{option} is for the bundles of one checkpoint, and these are of {found}: name one of them"
        )
    failed = False
    for one in choice.sets:
        try:
            if explain:
                open_comparable(one.bundles)  # refused now, and not after minutes of calls
            if several:
                console.out.print(f"\n{one.name}", markup=False)
            with bar(console.err) as calls:
                result = segexport.benchmark(
                    one.bundles,
                    data,
                    reference=reference,
                    use_reference=False if no_reference else None,
                    limit=limit,
                    threads=threads,
                    concurrency=concurrency,
                    batch=batch,
                    progress=calls,
                )
        except SegexportError as error:
            if not several:
                raise
            failed = True
            console.err.print(f"error: {one.name}: {error}", markup=False)
            continue
        if explain and data is not None and not result.interrupted:
            _explained(result, one.bundles, data, limit, threads, json_file, markdown_file)
        else:
            show(result, json_file, markdown_file)
        if result.interrupted:
            raise KeyboardInterrupt
    for line in choice.left_out:
        console.out.print(f"left out: {line}", markup=False)
    if failed:
        sys.exit(2)


def show(result: Result, json_file: Path | None = None, markdown_file: Path | None = None) -> None:
    """Print a benchmark's tables and verdicts, and write its files."""
    from segexport.report import table

    _write(result, json_file, markdown_file)
    if (per_class := table.per_class_table(result)) is not None:
        console.out.print(per_class)
    console.out.print(table.table(result, console.out.width))
    for line in table.verdicts(result):
        console.out.print(line, markup=False)


def _explained(
    result: Result,
    bundles: tuple[Bundle, ...],
    data: Path,
    limit: int | None,
    threads: int | None,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Show the result, then say where in the network its bundles differ."""
    from segexport.report import explanation
    from segexport.report.steps import bar

    show(result)
    try:
        with bar(console.err, "images") as progress:
            found = segexport.explain(bundles, data, limit=limit, threads=threads, progress=progress)
        result = dataclasses.replace(result, explanation=found)
        for part in explanation.parts(found):
            console.out.print(part, markup=False)
    finally:  # what was measured is kept
        _write(result, json_file, markdown_file)


def _write(result: Result, json_file: Path | None, markdown_file: Path | None) -> None:
    from segexport.files import write_file, write_json
    from segexport.report import table

    if json_file is not None:
        write_json(json_file, result.to_json())
    if markdown_file is not None:
        write_file(markdown_file, table.markdown(result).encode())
