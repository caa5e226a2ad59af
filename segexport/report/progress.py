"""Progress over images: how many, how fast, how long it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Speed(ProgressColumn):
    """Images a second, of this run alone."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.2f} images/s")


@contextmanager
def image_bar(console: Console, what: str = "images") -> Iterator[Callable[[int, int], None]]:
    """Show images done of images to do. What was done before the first call counts as done, and not as speed."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as shown:
        task: list[TaskID] = []

        def update(done: int, total: int) -> None:
            if not task:
                task.append(shown.add_task(what, completed=done, total=total))
            shown.update(task[0], completed=done)

        yield update
