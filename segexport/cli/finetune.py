"""`segexport finetune`: from images to a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segexport.cli.console import err, out
from segexport.cli.options import Autocast, ClassWeights, size_of

if TYPE_CHECKING:
    from segexport.datasets.summary import DataSummary


def finetune(
    data: Annotated[Path, typer.Option(help="Labelled images: any layout that docs/data.md names.")],
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the checkpoint, its card and logs.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Where to start: hub id, alias, folder or .pth file.")] = (
        "nvidia/mit-b0"
    ),
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Only the architecture of --model, and a recipe that converges.")
    ] = False,
    classes: Annotated[
        Path | None, typer.Option(help="File of class names, one a line, if the data have none.")
    ] = None,
    val: Annotated[Path | None, typer.Option(help="Images to validate on; the data's own split if not given.")] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share of the images to put by, where there are no others. [0.1]")
    ] = None,
    val_limit: Annotated[int | None, typer.Option(min=1, help="Images to validate on while training.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many training images.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; the paper's 160000 if nothing is given.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the images instead.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train for instead.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step, over all processes. [8]")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches a step. [1]")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the network; the start's or the images'.")] = None,
    crop: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of what is trained on; the network's size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the encoder. [6e-5]")] = None,
    head_factor: Annotated[float | None, typer.Option(help="The head's rate over the encoder's. [10]")] = None,
    scales: Annotated[str | None, typer.Option(help="Range of the random resize. [0.5,2.0]")] = None,
    coarse: Annotated[float | None, typer.Option(help="Share of the training at half the resolution. [0]")] = None,
    jitter: Annotated[bool | None, typer.Option("--jitter/--no-jitter", help="Photometric jitter. [on]")] = None,
    class_weights: Annotated[ClassWeights | None, typer.Option(help="Weigh rare classes more. [none]")] = None,
    ohem: Annotated[bool | None, typer.Option("--ohem", help="Only hard pixels count.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the weights' moving average, such as 0.999.")] = None,
    autocast: Annotated[Autocast, typer.Option(help="bf16 or fp16 where the hardware has it.")] = Autocast.auto,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    evaluations: Annotated[int, typer.Option(min=1, help="How often to validate.")] = 10,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints to resume from.")] = 1000,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read images.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on where an image cannot be read.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training at --out, or start it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a training at --out.")] = False,
) -> None:
    """Train a SegFormer on your images with the authors' recipe; torchrun and accelerate launch scale it."""
    from segexport.finetuning.recipe import FROM_RANDOM, PAPER
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
        "class_weights": class_weights.value if class_weights else None,
        "ohem": ohem,
        "ema": ema,
        "autocast": autocast.value,
        "seed": seed,
        "steps": steps,
        "scales": None if scales is None else range_of(scales),
    }
    recipe = dataclasses.replace(
        FROM_RANDOM if random_init else PAPER, **{name: value for name, value in asked.items() if value is not None}
    )

    def show(found: DataSummary) -> None:
        for line in summary.lines(found):
            err.print(line, markup=False)
        err.print(summary.table(found))

    with training.bar(err, main) as told:
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
            tell=lambda line: err.print(line, markup=False),
            told=told,
        )
    if main:
        if training.can_draw():
            training.draw(trained, out_dir / "curve.png")
        for line in training.lines(trained):
            out.print(line, markup=False)


def range_of(text: str) -> tuple[float, float]:
    """Two numbers with a comma between."""
    from segexport.errors import ContractError

    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ContractError(f"'{text}' is no range: pass --scales with two numbers, such as 0.5,2.0") from None
    return low, high


COMMANDS = (finetune,)
