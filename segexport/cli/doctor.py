"""`segexport doctor`: what is wrong, where, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segexport.cli.console import out


def doctor(
    what: Annotated[str, typer.Argument(help="An .onnx file, a bundle, a checkpoint (or hub id, .pth), or data.")],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a graph: jetpack-6.1, jetpack-7.2, tensorrt-11, rtx or all; several with commas, or given again."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Images that the checkpoint is meant for: both are examined.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="File of class names, one a line, if the data have none.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--as", help="Take it for an onnx, bundle, checkpoint or data.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every finding here.")] = None,
) -> None:
    """Known traps: graphs a TensorRT does not take, pixels normalised twice or never, labels off by one.

    Ends with 1 where one is an error.
    """
    from segexport.doctor import as_json, examine
    from segexport.files import write_file
    from segexport.report import doctor as report

    names = [name.strip() for text in target or ["all"] for name in text.split(",")]
    found = examine(what, targets=names, kind=kind, data=data, classes=classes)
    if json_file is not None:
        write_file(json_file, (json.dumps(as_json(found), indent=2, allow_nan=False) + "\n").encode())
    for line in report.lines(found):
        out.print(line, markup=False)
    if not found.passed:
        raise typer.Exit(1)


COMMANDS = (doctor,)
