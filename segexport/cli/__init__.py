"""The command line: parse, call one function, print. No logic.

`finetune.py` trains, `build.py` has the commands that make something of a checkpoint, `use.py` those that use what was
made, `evaluate.py` scores, `doctor.py` says what is wrong. Every expected failure is one line on standard error and
exit code 2; `--debug` shows where it came from.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

import segexport
from segexport import machine
from segexport.cli import build, doctor, evaluate, finetune, use
from segexport.cli.console import err, out
from segexport.errors import SegexportError, SegexportWarning

app = typer.Typer(
    name="segexport",
    help="SegFormer from a checkpoint to an engine on an edge device, with proof that nothing was lost on the way.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (*finetune.COMMANDS, *build.COMMANDS, *use.COMMANDS, *evaluate.COMMANDS, *doctor.COMMANDS):
    app.command()(command)
_debug = False


def _version(show: bool) -> None:
    if show:
        out.print(segexport.__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _debug
    _debug = debug
    machine.claim_process()


def _warnings_once() -> Callable[..., None]:
    """A `warnings.showwarning` that prints each kind of ours once, whatever its text, and nobody else's."""
    shown: set[type[Warning]] = set()

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, SegexportWarning) and category not in shown:
            shown.add(category)
            err.print(f"warning: {message}", markup=False)

    return show_warning


def _fail(error: SegexportError) -> NoReturn:
    if _debug:
        raise error
    err.print(f"error: {' '.join(str(error).split())}", markup=False)
    sys.exit(2)


def main() -> None:
    """Entry point of the `segexport` command."""
    warnings.showwarning = _warnings_once()
    warnings.simplefilter("always", SegexportWarning)
    try:
        app()
    except SegexportError as error:
        _fail(error)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
