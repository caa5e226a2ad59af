"""A training on the terminal: how far it is, how long it takes yet, and what came of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segexport.finetuning.run import Trained


@contextmanager
def bar(console: Console, shown: bool = True) -> Iterator[Callable[[float, str], None]]:
    """Show the share of a training that is done, time spent, time left, and the last line told.

    Where nobody watches, in a log, it is a line for every twentieth.
    """
    if not console.is_terminal:
        yield _logged(console, shown)
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not shown) as progress:
        task = progress.add_task("", total=1.0)

        def update(share: float, text: str) -> None:
            progress.update(task, completed=share, description=text)

        yield update


def _logged(console: Console, shown: bool) -> Callable[[float, str], None]:
    before = 0

    def update(share: float, text: str) -> None:
        nonlocal before
        if shown and int(20 * share) > before:
            before = int(20 * share)
            console.print(f"{share:.0%} {text}")

    return update


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(trained: Trained, path: Path) -> None:
    """The loss of every logged step, and the validation's mIoU and pixel accuracy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    losses = [(one["step"], one["loss"]) for one in trained.history if "loss" in one]
    axes.plot(*zip(*losses, strict=True), color="tab:grey", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    scores = axes.twinx()
    for name, colour, label in (("eval_miou", "tab:red", "mIoU"), ("eval_pixel_accuracy", "tab:blue", "pixels")):
        points = [(one["step"], 100 * one[name]) for one in trained.history if name in one]
        if points:
            scores.plot(*zip(*points, strict=True), marker="o", color=colour, label=label)
    scores.set_ylim(0, 100)
    scores.set_ylabel("validation, %")
    scores.legend(loc="upper center", ncols=2)
    figure.savefig(path, dpi=100)


def lines(trained: Trained) -> Iterator[str]:
    """What came of it."""
    score = trained.score
    if score is None:
        yield f"{trained.folder} was not validated yet: go on with --resume"
        return
    interval = score.miou
    between = "" if interval.low is None else f" ({interval.low:.2%} to {interval.high:.2%})"
    yield f"mIoU       {interval.value:.2%}{between} on {score.images} validation images, weights of step {score.step}"
    yield f"pixels     {score.pixel_accuracy:.2%} right"
    known = {name: iou for name, iou in score.iou.items() if iou is not None}
    yield "classes    " + ", ".join(f"{name} {iou:.1%}" for name, iou in sorted(known.items(), key=lambda one: -one[1]))
    yield f"checkpoint {trained.folder} (README.md is its card; tensorboard --logdir {trained.folder})"
