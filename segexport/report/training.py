"""A training on the terminal: how far it is, how long it takes yet, and what came of it."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from segexport.finetuning import keeping
from segexport.finetuning.run import Trained
from segexport.report.steps import Pace, about, share_bar

if TYPE_CHECKING:
    from rich.console import Console

LENGTHS = "--steps, --epochs or --minutes"
_TOLD = 4
"""Times that a training has told how far it is before it is said how long all of it takes: the first step is slow."""


@contextmanager
def bar(console: Console, shown: bool = True, *, length_given: bool = True) -> Iterator[Callable[[float, str], None]]:
    """Show the share of a training that is done, the time that is left, and the last line told.

    Where nobody said how long to train, say once how long that takes as soon as steps have been timed.
    """
    if not shown:
        yield lambda share, text: None
        return
    pace, times = Pace(), 0
    with share_bar(console, "training") as told:

        def update(share: float, text: str) -> None:
            nonlocal times
            times += 1
            left = pace.seconds_left(share, 1.0)
            if times == _TOLD and left and not length_given:
                console.print(f"this training takes {about(left)} here: pass {LENGTHS} for a shorter one")
            told(share, text)

        yield update


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


def stopped(folder: Path) -> str:
    """What is said when a training in a folder is stopped by Ctrl-C."""
    checkpoint = keeping.newest(folder)
    if checkpoint is None:
        return f"stopped before anything was saved in {folder}: --save-every says how often"
    step = checkpoint.name.rpartition("-")[2]
    return f"stopped: the same command with --resume goes on from step {step} (without --overwrite)"


def lines(trained: Trained) -> Iterator[str]:
    """What came of it."""
    score = trained.score
    if score is None:
        yield f"{trained.folder} was not validated yet: go on with --resume"
        return
    interval = score.miou
    between = f" ({interval.low:.2%} to {interval.high:.2%})" if interval.known else " (too few images for an interval)"
    on = f"{score.images} validation image{'' if score.images == 1 else 's'}"
    yield f"mIoU       {interval.value:.2%}{between} on {on}, weights of step {score.step} of {score.steps}"
    yield f"pixels     {score.pixel_accuracy:.2%} right"
    known = {name: iou for name, iou in score.iou.items() if iou is not None}
    yield "classes    " + ", ".join(f"{name} {iou:.1%}" for name, iou in sorted(known.items(), key=lambda one: -one[1]))
    yield f"checkpoint {trained.folder} (README.md is its card; tensorboard --logdir {trained.folder})"
    yield f"next       {shlex.join(['segexport', 'build', '--model', str(trained.folder)])}"
