"""`--show-completion` and `--install-completion`: click's scripts for bash, zsh and fish, and where they belong."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from segexport.errors import ContractError

F = TypeVar("F", bound=Callable[..., Any])

_flag = partial(click.option, is_flag=True, is_eager=True, expose_value=False)

_PLACES = {
    "bash": (".bash_completions/segexport.sh", ".bashrc", "source ~/.bash_completions/segexport.sh"),
    "zsh": (".zfunc/_segexport", ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
    "fish": (".config/fish/completions/segexport.fish", "", ""),
}
"""For each shell, below the home folder: the script's file, and the file that gets a line to read it, with the line."""


def options(command: F) -> F:
    """Give the group of all commands both options."""
    show = _flag(
        "--show-completion",
        callback=_show,
        help="Show completion for the current shell, to copy it or customize the installation.",
    )
    install = _flag("--install-completion", callback=_install, help="Install completion for the current shell.")
    return install(show(command))


def _show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(_script(_shell(), ctx.command))
        ctx.exit()


def _install(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from segexport.files import write_failed, write_file

    shell = _shell()
    place, settings, line = _PLACES[shell]
    script = Path.home() / place
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        write_file(script, _script(shell, ctx.command).encode())
        if settings:
            with (Path.home() / settings).open("a+b") as file:
                file.seek(0)
                if line.encode() not in file.read().splitlines():
                    file.write(f"\n{line}\n".encode())
    except OSError as error:
        raise write_failed(script, error) from None
    click.echo(f"{shell} completion installed in {script}; it works in the next shell")
    ctx.exit()


def _shell() -> str:
    """The current shell.

    Raises:
        ContractError: there is no script for it.
    """
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _PLACES:
        raise ContractError(f"the shell '{shell}' has no completion: set SHELL to one of {', '.join(_PLACES)}")
    return shell


def _script(shell: str, command: click.Command) -> str:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, shell
    return found(command, {}, "segexport", "_SEGEXPORT_COMPLETE").source()
