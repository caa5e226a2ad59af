"""The command that says what class maps are worth on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segexport.cli.console import err, out
from segexport.cli.options import size_of
from segexport.errors import ContractError


def evaluate(
    subjects: Annotated[
        list[str], typer.Argument(help="Bundles and checkpoints (folder, hub id, alias, .pth), of the same classes.")
    ],
    data: Annotated[Path, typer.Option(help="Labelled images: a folder, in any layout that finetune takes.")],
    split: Annotated[str | None, typer.Option(help="Of the data, where it has several.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the network's input; each one's own if not given.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of a sliding window, instead of the whole image at once.")
    ] = None,
    stride: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH from one window to the next.")] = None,
    short_side: Annotated[
        int | None, typer.Option(min=1, help="Scale images to this shorter side first, keeping the aspect.")
    ] = None,
    scales: Annotated[str | None, typer.Option(help="Views to average, such as 0.5,0.75,1,1.25,1.5,1.75.")] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the mirror image of every view.")] = False,
    boundary: Annotated[bool, typer.Option("--boundary/--no-boundary", help="Boundary IoU.")] = True,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Group the images: a column's name, brightness, or row; may be given several times."),
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(help="A CSV file whose first column names the image, for --by.")
    ] = None,
    corruptions: Annotated[
        str | None, typer.Option(help="Score corrupted images, too: 'all', or names with commas between them.")
    ] = None,
    severity: Annotated[str | None, typer.Option(help="Of the corruptions: 1..5 (if not given), or 1,3.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="With --corruptions: the checkpoint for PyTorch, if not where a bundle says.")
    ] = None,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Leave that PyTorch out.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the corruptions' chance and of the intervals' draws.")] = 0,
    shard: Annotated[
        str | None, typer.Option(help="i/n: every n-th image from the i-th on, into the same --out.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the records; evaluation-NAME if not given.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, deleting an evaluation at --out.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and list images that cannot be used, instead of stopping.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; each engine's default if not given.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Another device than the bundle's: OpenVINO's GPU.0, or cuda:1.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the tables here.")] = None,
) -> None:
    """Score models and bundles on labelled images: mIoU, boundaries, groups, corruptions, with intervals; resumable."""
    from segexport.evaluation.protocol import Protocol
    from segexport.evaluation.run import evaluate as run
    from segexport.files import write_file
    from segexport.report import evaluation
    from segexport.report.progress import image_bar

    protocol = Protocol(
        size=size_of(size),
        window=size_of(window),
        stride=size_of(stride),
        short_side=short_side,
        scales=_scales(scales),
        flip=flip,
    )
    with image_bar(err) as progress:
        found = run(
            subjects,
            data,
            out=out_dir,
            protocol=protocol,
            split=split,
            limit=limit,
            columns=columns,
            by=by or (),
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
    if json_file is not None:
        write_file(json_file, (json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n").encode())
    if markdown_file is not None:
        write_file(markdown_file, evaluation.markdown(found).encode())
    for part in evaluation.parts(found, out.width):
        out.print(part, markup=False)


def _scales(text: str | None) -> tuple[float, ...]:
    if text is None:
        return (1.0,)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ContractError(f"scales '{text}' cannot be read: pass numbers with commas, such as 0.5,1,1.5") from None


COMMANDS = (evaluate,)
