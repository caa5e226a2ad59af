"""Commands that use what was made: measure, run, check, look inside."""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import segexport
from segexport.cli.console import err, out

if TYPE_CHECKING:
    from segexport.bench import Result
    from segexport.bench.explanation import Explanation


class Inspected(str, enum.Enum):
    """What `inspect --as` takes."""

    onnx = "onnx"
    plan = "plan"


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles, all from the same weights.")],
    data: Annotated[Path, typer.Option(help="Labelled images, in any layout of docs/data.md.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the table here.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; each engine's default if not given.")] = None,
    reference: Annotated[str | None, typer.Option(help="The checkpoint, if it is not where the bundles say.")] = None,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Leave PyTorch out.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say, too, at which layers, images and classes they differ from fp32.")
    ] = False,
) -> None:
    """Latency, mIoU and agreement of bundles beside PyTorch, on the same images in one run."""
    from segexport.bench.explain import open_comparable
    from segexport.report.steps import bar

    if explain:
        open_comparable(bundles)  # refused now, and not after minutes of calls
    with bar(err) as progress:
        result = segexport.benchmark(
            list(bundles),
            data,
            reference=reference,
            use_reference=not no_reference,
            limit=limit,
            threads=threads,
            progress=progress,
        )
    if not explain:
        show(result, json_file, markdown_file)
        return
    show(result)
    try:
        with bar(err, "images") as progress:
            found = segexport.explain(list(bundles), data, limit=limit, threads=threads, progress=progress)
        result = dataclasses.replace(result, explanation=found)
        _show_explanation(found)
    finally:  # what was measured is kept
        _write(result, json_file, markdown_file)


def show(result: Result, json_file: Path | None = None, markdown_file: Path | None = None) -> None:
    """Print a benchmark's tables and verdicts, and write its files."""
    from segexport.report import table

    _write(result, json_file, markdown_file)
    if (per_class := table.per_class_table(result)) is not None:
        out.print(per_class)
    out.print(table.table(result, out.width))
    for line in table.verdicts(result):
        out.print(line)


def _show_explanation(found: Explanation) -> None:
    from segexport.report import explanation

    for part in explanation.parts(found):
        out.print(part, markup=False)


def _write(result: Result, json_file: Path | None, markdown_file: Path | None) -> None:
    from segexport.files import write_file
    from segexport.report import table

    if json_file is not None:
        write_file(json_file, (json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n").encode())
    if markdown_file is not None:
        write_file(markdown_file, table.markdown(result).encode())


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    images: Annotated[list[Path], typer.Argument(help="Images of any size.")],
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for NAME_mask.png and NAME_overlay.png.")],
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Another device than the bundle's: OpenVINO's GPU.0, or cuda:1.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Class map and overlay of each image, in the image's own size."""
    from segexport.predict import predict_files

    for written in predict_files(bundle, images, out_dir, threads=threads, device=device, overwrite=overwrite):
        out.print(str(written))


def selftest(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Another device than the bundle's: OpenVINO's GPU.0, or cuda:1.")
    ] = None,
) -> None:
    """Run the bundle's golden image here and compare with what was built."""
    from segexport.bundle import open_bundle
    from segexport.report import summary

    result = segexport.selftest(open_bundle(bundle), threads=threads, device=device)
    out.print(summary.of_selftest(result))


def inspect(
    path: Annotated[Path, typer.Argument(help="An .onnx file, a TensorRT for RTX plan, or a bundle.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    kind: Annotated[
        Inspected | None, typer.Option("--as", help="What to take it for, if not what it looks like.")
    ] = None,
) -> None:
    """What a graph is (contract, rewrites, operators, GMACs by stage), and what TensorRT made of it, without a GPU."""
    from segexport import inspection
    from segexport.files import write_file
    from segexport.report import inspection as of_graph
    from segexport.report import plan as of_plan
    from segexport.tensorrt.plan_report import PlanReport

    asked: Any = kind.value if kind else None
    found = inspection.inspect_path(path, asked)
    if json_file is not None:
        write_file(json_file, (json.dumps(inspection.as_json(found), indent=2, allow_nan=False) + "\n").encode())
    for one in found:
        if isinstance(one, PlanReport):
            for part in of_plan.parts(one):
                out.print(part, markup=False)
            continue
        for line in of_graph.lines(one):
            out.print(line, markup=False)
        out.print(of_graph.table(one))


def engines() -> None:
    """Every engine: whether it is installed, its devices, and how to install it."""
    from segexport.engines import infos
    from segexport.report import summary

    found = infos()
    out.print(summary.engines_table(found))
    for line in summary.of_missing(found):
        out.print(line, markup=False)


def demo(
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=5, help="Time to train for.")] = 120,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo.")] = False,
) -> None:
    """The whole way on generated scenes: train, export, build for every engine installed, benchmark."""
    from segexport.demo import run
    from segexport.report.steps import steps

    with steps(err) as progress:
        result = run(out_dir, seconds=seconds, overwrite=overwrite, progress=progress)
    show(result, out_dir / "bench.json", out_dir / "bench.md")
    out.print(f"picture: {out_dir / 'picture.png'}   bundles: {out_dir / 'bundles'}")


COMMANDS = (bench, predict, selftest, inspect, engines, demo)
