"""`segexport finetune`: from images to a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from segexport.cli import console, options
from segexport.cli.options import COUNT, NAME, PATH, Integer, size_of
from segexport.finetuning.recipe import FROM_RANDOM, PAPER, Autocast, ClassWeights

if TYPE_CHECKING:
    from segexport.datasets.summary import DataSummary


@click.command(cls=options.Command)
@click.option("--data", type=PATH, required=True, help="Labelled images: any layout that docs/data.md names.")
@click.option("--out", "-o", "out_dir", type=PATH, required=True, help="Folder for the checkpoint, its card and logs.")
@click.option(
    "--model",
    "-m",
    type=NAME,
    metavar="NAME",
    default="nvidia/mit-b0",
    help="Where to start: hub id, alias, folder or .pth file.",
)
@options.revision
@click.option("--random-init", is_flag=True, help="Only the architecture of --model, and a recipe that converges.")
@options.classes
@click.option("--val", type=PATH, help="Images to validate on; the data's own split if not given.")
@click.option("--val-fraction", type=float, help="Share of the images to put by, where there are no others. [0.1]")
@click.option("--val-limit", type=COUNT, help="Images to validate on while training.")
@click.option("--limit", type=COUNT, help="Only the first so many training images.")
@click.option("--steps", type=int, help="Optimizer steps; the paper's 160000 if nothing is given.")
@click.option("--epochs", type=float, help="Passes over the images instead.")
@click.option("--minutes", type=float, help="Time to train for instead.")
@click.option("--batch", type=int, help="Images a step, over all processes. [8]")
@click.option("--accumulate", type=int, help="Micro-batches a step. [1]")
@click.option("--size", help="HEIGHTxWIDTH of the network; the start's or the images'.")
@click.option("--crop", help="HEIGHTxWIDTH of what is trained on; the network's size.")
@click.option("--learning-rate", type=float, help="Of the encoder. [6e-5]")
@click.option("--head-factor", type=float, help="The head's rate over the encoder's. [10]")
@click.option("--scales", help="Range of the random resize. [0.5,2.0]")
@click.option("--coarse", type=float, help="Share of the training at half the resolution. [0]")
@click.option("--jitter/--no-jitter", default=None, help="Photometric jitter. [on]")
@click.option("--class-weights", type=click.Choice(get_args(ClassWeights)), help="Weigh rare classes more. [none]")
@click.option("--ohem", is_flag=True, default=None, help="Only hard pixels count.")
@click.option("--ema", type=float, help="Decay of the weights' moving average, such as 0.999.")
@click.option(
    "--autocast",
    type=click.Choice(get_args(Autocast)),
    default="auto",
    help="bf16 or fp16 where the hardware has it.",
)
@click.option("--seed", type=Integer(min=0), default=0, help="Of everything that is drawn.")
@click.option("--evaluations", type=COUNT, default=10, help="How often to validate.")
@click.option("--save-every", type=COUNT, default=1000, help="Steps between checkpoints to resume from.")
@click.option("--workers", type=Integer(min=0), help="Processes that read images.")
@click.option("--skip-bad", is_flag=True, help="Go on where an image cannot be read.")
@click.option("--resume", is_flag=True, help="Go on with the training at --out, or start it.")
@click.option("--overwrite", is_flag=True, help="Replace a training at --out.")
def finetune(
    data: Path,
    out_dir: Path,
    model: str,
    revision: str | None,
    random_init: bool,
    classes: Path | None,
    val: Path | None,
    val_fraction: float | None,
    val_limit: int | None,
    limit: int | None,
    steps: int | None,
    epochs: float | None,
    minutes: float | None,
    batch: int | None,
    accumulate: int | None,
    size: str | None,
    crop: str | None,
    learning_rate: float | None,
    head_factor: float | None,
    scales: str | None,
    coarse: float | None,
    jitter: bool | None,
    class_weights: ClassWeights | None,
    ohem: bool | None,
    ema: float | None,
    autocast: Autocast,
    seed: int,
    evaluations: int,
    save_every: int,
    workers: int | None,
    skip_bad: bool,
    resume: bool,
    overwrite: bool,
) -> None:
    """Train a SegFormer on your images with the authors' recipe; torchrun and accelerate launch scale it."""
    from segexport.finetuning.run import finetune as run
    from segexport.report import data as summary
    from segexport.report import training

    main = os.environ.get("RANK", "0") == "0"
    asked: dict[str, Any] = {
        "minutes": minutes,
        "batch": batch,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "head_factor": head_factor,
        "coarse": coarse,
        "jitter": jitter,
        "class_weights": class_weights,
        "ohem": ohem,
        "ema": ema,
        "autocast": autocast,
        "seed": seed,
        "steps": steps,
        "scales": None if scales is None else range_of(scales),
    }
    recipe = dataclasses.replace(
        FROM_RANDOM if random_init else PAPER, **{name: value for name, value in asked.items() if value is not None}
    )

    def show(found: DataSummary) -> None:
        for line in summary.lines(found):
            console.err.print(line, markup=False)
        console.err.print(summary.table(found))

    length_given = any(length is not None for length in (steps, epochs, minutes))
    try:
        with training.bar(console.err, main, length_given=length_given) as told:
            trained = run(
                data,
                out_dir,
                model=model,
                revision=revision,
                random_init=random_init,
                classes=classes,
                val=val,
                val_fraction=val_fraction,
                val_limit=val_limit,
                limit=limit,
                recipe=recipe,
                epochs=epochs,
                size=size_of(size),
                crop=size_of(crop),
                evaluations=evaluations,
                save_every=save_every,
                workers=workers,
                skip_bad=skip_bad,
                resume=resume,
                overwrite=overwrite,
                seen=show,
                tell=lambda line: console.err.print(line, markup=False),
                told=told,
            )
    except KeyboardInterrupt:
        if main:
            console.err.print(training.stopped(out_dir), markup=False)
        raise
    if main:
        if training.can_draw():
            training.draw(trained, out_dir / "curve.png")
        for line in training.lines(trained):
            console.out.print(line, markup=False)


def range_of(text: str) -> tuple[float, float]:
    """Two numbers with a comma between."""
    from segexport.errors import ContractError

    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ContractError(f"'{text}' is no range: pass --scales with two numbers, such as 0.5,2.0") from None
    return low, high
