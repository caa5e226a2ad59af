"""`segexport doctor`: what is wrong, where, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segexport.cli.console import out


def doctor(
    path: Annotated[Path, typer.Argument(help="An .onnx file, or a bundle.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="jetpack-6.1, jetpack-7.2, tensorrt-11, rtx or all; several with commas, or given again."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--as", help="Take it for an onnx or a bundle.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every finding here.")] = None,
) -> None:
    """Whether each TensorRT takes a graph: node, rule, reason and remedy. Ends with 1 where one does not."""
    from segexport.doctor import as_json, examine
    from segexport.files import write_file
    from segexport.report import doctor as report

    names = [name.strip() for text in target or ["all"] for name in text.split(",")]
    found = examine(path, targets=names, kind=kind)
    if json_file is not None:
        write_file(json_file, (json.dumps(as_json(found), indent=2, allow_nan=False) + "\n").encode())
    for line in report.lines(found):
        out.print(line, markup=False)
    if not found.passed:
        raise typer.Exit(1)


COMMANDS = (doctor,)
