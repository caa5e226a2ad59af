"""`segexport doctor`: what is wrong, where, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from segexport.cli import console, options
from segexport.cli.options import NAME, PATH, Argument


@click.command(cls=options.Command)
@click.argument(
    "what", type=NAME, cls=Argument, help="An .onnx file, a bundle, a checkpoint (or hub id, .pth), or data."
)
@click.option(
    "--target",
    multiple=True,
    help="Of a graph: jetpack-6.1, jetpack-7.2, tensorrt-11, rtx or all; several with commas, or given again.",
)
@click.option("--data", type=PATH, help="Images that the checkpoint is meant for: both are examined.")
@options.classes
@click.option("--as", "kind", help="Take it for an onnx, bundle, checkpoint or data.")
@click.option("--json", "json_file", type=PATH, help="Write every finding here.")
def doctor(
    what: str,
    target: tuple[str, ...],
    data: Path | None,
    classes: Path | None,
    kind: str | None,
    json_file: Path | None,
) -> None:
    """Known traps: graphs a TensorRT does not take, pixels normalised twice or never, labels off by one.

    Ends with 1 where one is an error.
    """
    from segexport.doctor import as_json, examine
    from segexport.files import write_json
    from segexport.report import doctor as report

    names = [name.strip() for text in target or ("all",) for name in text.split(",")]
    found = examine(what, targets=names, kind=kind, data=data, classes=classes)
    if json_file is not None:
        write_json(json_file, as_json(found))
    for line in report.lines(found):
        console.out.print(line, markup=False)
    if not found.passed:
        sys.exit(1)
