"""The command that says what class maps are worth on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segexport.cli import console, options
from segexport.cli.options import COUNT, NAME, PATH, Argument, Integer, size_of
from segexport.errors import ContractError

if TYPE_CHECKING:
    from segexport.evaluation.result import Evaluation


@click.command(cls=options.Command)
@click.argument(
    "subjects",
    type=NAME,
    nargs=-1,
    required=True,
    cls=Argument,
    help="Bundles and checkpoints (folder, hub id, alias, .pth), of the same classes.",
)
@click.option("--data", type=PATH, required=True, help="Labelled images: a folder, in any layout that finetune takes.")
@click.option("--split", help="Of the data, where it has several.")
@options.limit
@click.option("--size", help="HEIGHTxWIDTH of the network's input; each one's own if not given.")
@click.option("--window", help="HEIGHTxWIDTH of a sliding window, instead of the whole image at once.")
@click.option("--stride", help="HEIGHTxWIDTH from one window to the next.")
@click.option("--short-side", type=COUNT, help="Scale images to this shorter side first, keeping the aspect.")
@click.option("--scales", help="Views to average, such as 0.5,0.75,1,1.25,1.5,1.75.")
@click.option("--flip", is_flag=True, help="Average with the mirror image of every view.")
@click.option("--boundary/--no-boundary", default=True, help="Boundary IoU.")
@click.option(
    "--by", multiple=True, help="Group the images: a column's name, brightness, or row; may be given several times."
)
@click.option("--columns", type=PATH, help="A CSV file whose first column names the image, for --by.")
@click.option("--corruptions", help="Score corrupted images, too: 'all', or names with commas between them.")
@click.option("--severity", help="Of the corruptions: 1..5 (if not given), or 1,3.")
@click.option(
    "--reference",
    type=NAME,
    metavar="NAME",
    help="With --corruptions: the checkpoint for PyTorch, if not where a bundle says.",
)
@click.option("--no-reference", is_flag=True, help="Leave that PyTorch out.")
@click.option("--seed", type=Integer(min=0), default=0, help="Of the corruptions' chance and of the intervals' draws.")
@click.option("--shard", help="i/n: every n-th image from the i-th on, into the same --out.")
@click.option("--out", "-o", "out_dir", type=PATH, help="Folder for the records; evaluation-NAME if not given.")
@click.option("--overwrite", is_flag=True, help="Begin anew, deleting an evaluation at --out.")
@click.option("--skip-bad", is_flag=True, help="Leave out and list images that cannot be used, instead of stopping.")
@options.threads
@options.device
@options.json_figures
@click.option("--markdown", "markdown_file", type=PATH, help="Write the tables here.")
def evaluate(
    subjects: tuple[str, ...],
    data: Path,
    split: str | None,
    limit: int | None,
    size: str | None,
    window: str | None,
    stride: str | None,
    short_side: int | None,
    scales: str | None,
    flip: bool,
    boundary: bool,
    by: tuple[str, ...],
    columns: Path | None,
    corruptions: str | None,
    severity: str | None,
    reference: str | None,
    no_reference: bool,
    seed: int,
    shard: str | None,
    out_dir: Path | None,
    overwrite: bool,
    skip_bad: bool,
    threads: int | None,
    device: str | None,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Score models and bundles on labelled images: mIoU, boundaries, groups, corruptions, with intervals; resumable."""
    from segexport.evaluation.protocol import Protocol
    from segexport.evaluation.run import EvaluationStopped
    from segexport.evaluation.run import evaluate as run
    from segexport.files import write_file, write_json
    from segexport.report import evaluation
    from segexport.report.steps import bar

    protocol = Protocol(
        size=size_of(size),
        window=size_of(window),
        stride=size_of(stride),
        short_side=short_side,
        scales=_scales(scales),
        flip=flip,
    )
    try:
        with bar(console.err, "images", speed=True) as progress:
            found = run(
                subjects,
                data,
                out=out_dir,
                protocol=protocol,
                split=split,
                limit=limit,
                columns=columns,
                by=by,
                boundary=boundary,
                corruptions=corruptions,
                severity=severity,
                reference=reference,
                use_reference=not no_reference,
                seed=seed,
                shard=shard,
                overwrite=overwrite,
                skip_bad=skip_bad,
                threads=threads,
                device=device,
                progress=progress,
            )
    except EvaluationStopped as stopped:
        _show(stopped.found)
        raise
    if json_file is not None:
        write_json(json_file, found.to_json())
    if markdown_file is not None:
        write_file(markdown_file, evaluation.markdown(found).encode())
    _show(found)


def _show(found: Evaluation) -> None:
    from segexport.report import evaluation

    for part in evaluation.parts(found, console.out.width):
        console.out.print(part, markup=False)


def _scales(text: str | None) -> tuple[float, ...]:
    if text is None:
        return (1.0,)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ContractError(f"scales '{text}' cannot be read: pass numbers with commas, such as 0.5,1,1.5") from None
