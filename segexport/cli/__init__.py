"""The command line: parse, call one function, print. No logic.

`COMMANDS` says which module has which command; a module is imported when its command is called, and the overview of all
commands imports none. Every expected failure is one line on standard error and exit code 2; `--debug` shows where it
came from. 130 is the exit code of what was stopped with Ctrl-C.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import click

from segexport import __version__, memory
from segexport.cli import completion
from segexport.errors import SegexportError, SegexportWarning

COMMANDS = {
    "finetune": ("finetune", "Train a SegFormer on your images with the authors' recipe."),
    "build": ("build", "Build a bundle: an engine with its manifest and golden image."),
    "bench": ("bench", "Latency, mIoU and agreement of bundles beside PyTorch."),
    "predict": ("use", "Class map and overlay of each image, in the image's own size."),
    "evaluate": ("evaluate", "Score models and bundles: mIoU, boundaries, groups, corruptions."),
    "calibrate": ("tune", "Record the ranges that fp16 and int8 are built with."),
    "tune": ("tune", "Search the fastest INT8 placement within a budget of mIoU."),
    "selftest": ("use", "Run a bundle's golden image here and compare."),
    "inspect": ("use", "What a graph is, and what TensorRT made of it."),
    "doctor": ("doctor", "Known traps in graphs, checkpoints and data."),
    "engines": ("use", "What is installed, and how to install what is not."),
    "demo": ("use", "The whole way on generated scenes."),
}
"""The commands in the order of the overview: the module of `segexport.cli` that has each, and what it does."""


class _Commands(click.Group):
    """The commands, each read when it is called for: to read all of them takes longer than to run the quick ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"segexport.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            meant = "".join(f" Did you mean '{name}'?" for name in get_close_matches(args[0], COMMANDS, n=1))
            ctx.fail(f"No such command '{args[0]}'.{meant}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click's own exit code is that of any failure
            _say("stopped")
            sys.exit(130)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


_debug = False


@click.group(cls=_Commands, name="segexport", context_settings={"show_default": True})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, message="%(version)s", help="Show the version.")
@completion.options
def app(debug: bool) -> None:
    """SegFormer from a checkpoint to an engine on an edge device, with proof that nothing was lost on the way."""
    global _debug
    _debug = debug
    memory.claim_process()


def _warnings_once() -> Callable[..., None]:
    """A `warnings.showwarning` that prints each kind of ours once, whatever its text, and nobody else's."""
    shown: set[type[Warning]] = set()

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, SegexportWarning) and category not in shown:
            shown.add(category)
            _say(f"warning: {message}")

    return show_warning


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(error: SegexportError) -> NoReturn:
    if _debug:
        raise error
    _say(f"error: {' '.join(str(error).split())}")
    sys.exit(2)


def main() -> None:
    """Entry point of the `segexport` command."""
    warnings.showwarning = _warnings_once()
    warnings.simplefilter("always", SegexportWarning)
    try:
        app()
    except SegexportError as error:
        _fail(error)
