"""Where commands print: `console.out` for results, `console.err` for progress.

They are made when first asked for, so that refusing an option imports no rich.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    out: Console
    err: Console


@cache
def _console(stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def __getattr__(name: str) -> Console:
    if name not in ("out", "err"):
        raise AttributeError(f"module 'segexport.cli.console' has no attribute '{name}'")
    return _console(stderr=name == "err")
