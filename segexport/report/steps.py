"""Progress on the terminal: the steps of a build, the calls of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], None]]:
    """Show named steps, each with the time it takes; a step called "name: detail" updates the running "name"."""
    with Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
    ) as shown:
        running: list[tuple[str, int]] = []

        def begin(step: str) -> None:
            name = step.partition(":")[0]
            if running and running[-1][0] == name:
                shown.update(shown.task_ids[-1], description=step)
                return
            _finish(shown)
            running.append((name, shown.add_task(step, total=1)))

        yield begin
        _finish(shown)


def _finish(shown: Progress) -> None:
    if shown.task_ids:
        shown.update(shown.task_ids[-1], completed=1)


@contextmanager
def bar(console: Console, what: str = "timed calls") -> Iterator[Callable[[int, int], None]]:
    """Show calls done of calls to do, or whatever else is counted."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("starting the engines", total=None)

        def update(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total, description=what)

        yield update
