"""Commands that use what was made: run, check, look inside."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import segexport
from segexport.cli import console, options
from segexport.cli.options import COUNT, PATH, Argument, Float

if TYPE_CHECKING:
    from segexport.inspection import Kind

_threads = click.option("--threads", type=COUNT, help="CPU threads.")


@click.command(cls=options.Command)
@click.argument("bundle", type=PATH, cls=Argument, help="A bundle.")
@click.argument("images", type=PATH, nargs=-1, required=True, cls=Argument, help="Images of any size.")
@click.option("--out", "-o", "out_dir", type=PATH, required=True, help="Folder for NAME_mask.png and NAME_overlay.png.")
@_threads
@options.device
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def predict(
    bundle: Path, images: tuple[Path, ...], out_dir: Path, threads: int | None, device: str | None, overwrite: bool
) -> None:
    """Class map and overlay of each image, in the image's own size."""
    from segexport.predict import predict_files

    for written in predict_files(bundle, images, out_dir, threads=threads, device=device, overwrite=overwrite):
        console.out.print(str(written))


@click.command(cls=options.Command)
@click.argument("bundle", type=PATH, cls=Argument, help="A bundle.")
@_threads
@options.device
def selftest(bundle: Path, threads: int | None, device: str | None) -> None:
    """Run the bundle's golden image here and compare with what was built."""
    from segexport.bundle import open_bundle
    from segexport.report import summary

    result = segexport.selftest(open_bundle(bundle), threads=threads, device=device)
    console.out.print(summary.of_selftest(result))


@click.command(cls=options.Command)
@click.argument("path", type=PATH, cls=Argument, help="An .onnx file, a TensorRT for RTX plan, or a bundle.")
@click.option("--json", "json_file", type=PATH, help="Write everything here.")
@click.option(
    "--as", "kind", type=click.Choice(("onnx", "plan")), help="What to take it for, if not what it looks like."
)
def inspect(path: Path, json_file: Path | None, kind: Kind | None) -> None:
    """What a graph is (contract, rewrites, operators, GMACs by stage), and what TensorRT made of it, without a GPU."""
    from segexport import inspection
    from segexport.files import write_json
    from segexport.report import inspection as of_graph
    from segexport.report import plan as of_plan
    from segexport.tensorrt.plan_report import PlanReport

    found = inspection.inspect_path(path, kind)
    if json_file is not None:
        write_json(json_file, inspection.as_json(found))
    for one in found:
        if isinstance(one, PlanReport):
            for part in of_plan.parts(one):
                console.out.print(part, markup=False)
            continue
        for line in of_graph.lines(one):
            console.out.print(line, markup=False)
        console.out.print(of_graph.table(one))


@click.command(cls=options.Command)
def engines() -> None:
    """Every engine: whether it is installed, its devices, and how to install it."""
    from segexport.engines import infos
    from segexport.report import summary

    found = infos()
    console.out.print(summary.engines_table(found))
    for line in summary.of_missing(found):
        console.out.print(line, markup=False)


@click.command(cls=options.Command)
@click.option("--out", "-o", "out_dir", type=PATH, default=Path("demo"), help="Folder for everything the demo makes.")
@click.option("--seconds", type=Float(min=5), default=120, help="Time to train for.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
def demo(out_dir: Path, seconds: float, overwrite: bool) -> None:
    """The whole way on generated scenes: train, export, build for every engine installed, benchmark."""
    from segexport.cli.bench import show
    from segexport.demo import run
    from segexport.report.steps import steps

    with steps(console.err) as progress:
        result = run(out_dir, seconds=seconds, overwrite=overwrite, progress=progress)
    show(result, out_dir / "bench.json", out_dir / "bench.md")
    if result.interrupted:
        raise KeyboardInterrupt
    folder = shlex.quote(str(out_dir))
    bundle = next(row.name for row in result.rows if not row.is_reference)
    console.out.print(f"picture    {folder}/picture.png: a scene, the class map of it, and both")
    console.out.print(f"next       segexport predict {folder}/bundles/{bundle} PHOTO.jpg -o out")
    console.out.print("           segexport build --model path/to/your/checkpoint, then segexport bench")
