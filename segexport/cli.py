"""The command line: parse, call one function, print. No logic.

Every expected failure is one line on standard error and exit code 2; `--debug` shows where it came from.
"""

from __future__ import annotations

import enum
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

import segexport
from segexport.errors import ContractError, SegexportError, SegexportWarning

if TYPE_CHECKING:
    from segexport.bench import Result
    from segexport.spec import MaskSize

app = typer.Typer(
    name="segexport",
    help="SegFormer from a checkpoint to an engine on an edge device, with proof that nothing was lost on the way.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_debug = False


class _Precision(str, enum.Enum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


class _Engine(str, enum.Enum):
    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


class _ChannelOrder(str, enum.Enum):
    rgb = "rgb"
    bgr = "bgr"


class _ResizeMode(str, enum.Enum):
    stretch = "stretch"
    letterbox = "letterbox"
    shortest_edge = "shortest-edge"


class _Output(str, enum.Enum):
    mask = "mask"
    scores = "scores"
    logits = "logits"
    topk = "topk"


def _version(show: bool) -> None:
    if show:
        out.print(segexport.__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _debug
    _debug = debug


@app.command()
def build(
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder; appears whole or not at all.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Folder, hub id, or alias: b0 ... b5, b0-cityscapes ..., mit-b0 ..."),
    ] = None,
    from_bundle: Annotated[
        Path | None, typer.Option(help="Build from a bundle instead, for another engine; needs no PyTorch.")
    ] = None,
    precision: Annotated[
        _Precision | None,
        typer.Option(help="fp32 if not given; bf16 takes OpenVINO and a CPU that has it, int8 takes --calibration."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="For int8 and fp16: a folder of images, or a table of segexport calibrate.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Images to take of the folder; 64 if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of their draw.")] = 0,
    placement: Annotated[
        Path | None, typer.Option(help="For int8: which layers, a file of segexport tune; most if not given.")
    ] = None,
    engine: Annotated[_Engine, typer.Option(help="auto takes the best that is installed.")] = _Engine.auto,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the network's input; the processor's own if not given.")
    ] = None,
    source_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the camera's images: the graph resizes them as Pillow does.")
    ] = None,
    resize_mode: Annotated[
        _ResizeMode,
        typer.Option(help="With --source-size: stretch, letterbox, or shortest-edge (of --size; keeps the aspect)."),
    ] = _ResizeMode.stretch,
    batch: Annotated[str, typer.Option(help="Images a call: a number, or 'dynamic'.")] = "1",
    channel_order: Annotated[_ChannelOrder, typer.Option(help="Order of the image's channels.")] = _ChannelOrder.rgb,
    output: Annotated[
        _Output | None,
        typer.Option(help="mask, scores (mask and confidence), logits; topk for a classifier."),
    ] = None,
    mask_size: Annotated[
        str, typer.Option(help="input, network (the logits' own, a quarter), or HEIGHTxWIDTH.")
    ] = "input",
    rewrites: Annotated[bool, typer.Option("--rewrites/--no-rewrites", help="Apply the exact graph rewrites.")] = True,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Random weights, for latency and parity only.")
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    device: Annotated[str | None, typer.Option(help="An OpenVINO device, such as CPU or GPU.0.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle that stands at --out.")] = False,
) -> None:
    """Build a bundle: a self-contained engine with its manifest and golden image."""
    if (model is None) == (from_bundle is None):
        raise ContractError("name what to build from: --model CHECKPOINT, or --from-bundle DIR, and not both")
    from segexport.report import summary
    from segexport.report.steps import steps

    common: dict[str, Any] = {
        "engine": engine.value,
        "calibration": calibration,
        "samples": samples,
        "seed": seed,
        "placement": placement,
        "device": device,
        "overwrite": overwrite,
    }
    with steps(err) as progress:
        if from_bundle is not None:
            kept: Any = precision.value if precision else None
            bundle = segexport.rebuild(from_bundle, out_dir, precision=kept, progress=progress, **common)
        else:
            bundle = segexport.build(
                model or "",
                out_dir,
                precision=precision.value if precision else "fp32",
                size=_size(size),
                batch=_batch(batch),
                channel_order=channel_order.value,
                output=output.value if output else None,
                mask_size=_mask_size(mask_size),
                source_size=_size(source_size),
                resize_mode=resize_mode.value,
                rewrites=rewrites,
                random_init=random_init,
                revision=revision,
                progress=progress,
                **common,
            )
    why = "the fastest installed here" if engine is _Engine.auto else "asked for"
    for line in summary.of_bundle(bundle, why):
        out.print(line)


@app.command()
def calibrate(
    data: Annotated[Path, typer.Option(help="Folder of images, or of images/; or a Hugging Face data set folder.")],
    out_file: Annotated[Path, typer.Option("--out", "-o", help="The table to write, JSON.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Folder, hub id, or alias, as for build.")] = None,
    from_bundle: Annotated[Path | None, typer.Option(help="A bundle in fp32 instead; needs no PyTorch.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the network's input, as for build.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Images to take; 64, or all of fewer, if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of their draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table that stands at --out.")] = False,
) -> None:
    """Run the FP32 graph on images and record the ranges that fp16 and int8 are built with."""
    from segexport.files import require_new_file
    from segexport.report import summary
    from segexport.report.steps import steps

    require_new_file(out_file, overwrite)
    with steps(err) as progress:
        graph = segexport.graph_of(model, from_bundle, size=_size(size), progress=progress)
        ranges = segexport.calibrate(graph, data, samples=samples, seed=seed, progress=progress)
    ranges.save(out_file)
    for line in summary.of_ranges(ranges):
        out.print(line)


@app.command()
def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles, all from the same weights.")],
    data: Annotated[Path, typer.Option(help="Folder with images/ and masks/, or a Hugging Face data set folder.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the table here.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; each engine's default if not given.")] = None,
    reference: Annotated[str | None, typer.Option(help="The checkpoint, if it is not where the bundles say.")] = None,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="Leave PyTorch out.")] = False,
) -> None:
    """Latency, mIoU and agreement of bundles beside PyTorch, on the same images in one run."""
    from segexport.report.steps import bar

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
    show(result, json_file, markdown_file)


def show(result: Result, json_file: Path | None = None, markdown_file: Path | None = None) -> None:
    """Print a benchmark's tables and verdicts, and write its files."""
    from segexport.files import write_file
    from segexport.report import table

    if json_file is not None:
        write_file(json_file, (json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n").encode())
    if markdown_file is not None:
        write_file(markdown_file, table.markdown(result).encode())
    if (per_class := table.per_class_table(result)) is not None:
        out.print(per_class)
    out.print(table.table(result, out.width))
    for line in table.verdicts(result):
        out.print(line)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    images: Annotated[list[Path], typer.Argument(help="Images of any size.")],
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for NAME_mask.png and NAME_overlay.png.")],
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[str | None, typer.Option(help="An OpenVINO device other than the bundle's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Class map and overlay of each image, in the image's own size."""
    from segexport.predict import predict_files

    for written in predict_files(bundle, images, out_dir, threads=threads, device=device, overwrite=overwrite):
        out.print(str(written))


@app.command()
def selftest(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Annotated[str | None, typer.Option(help="An OpenVINO device other than the bundle's.")] = None,
) -> None:
    """Run the bundle's golden image here and compare with what was built."""
    from segexport.bundle import open_bundle
    from segexport.report import summary

    result = segexport.selftest(open_bundle(bundle), threads=threads, device=device)
    out.print(summary.of_selftest(result))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="An .onnx file, or a bundle.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
) -> None:
    """Contract, rewrites, operators, parameters and multiply-accumulates (GMACs) by stage of a graph."""
    from segexport import inspection
    from segexport.files import write_file
    from segexport.report import inspection as report

    found = inspection.inspect_path(path)
    if json_file is not None:
        write_file(json_file, (json.dumps(inspection.as_json(found), indent=2, allow_nan=False) + "\n").encode())
    for one in found:
        for line in report.lines(one):
            out.print(line, markup=False)
        out.print(report.table(one))


@app.command()
def engines() -> None:
    """Every engine: whether it is installed, its devices, and how to install it."""
    from segexport.engines import infos
    from segexport.report import summary

    out.print(summary.engines_table(infos()))


@app.command()
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


def _size(text: str | None) -> tuple[int, int] | None:
    from segexport.spec import parse_size

    return None if text is None else parse_size(text)


def _mask_size(text: str) -> MaskSize | tuple[int, int]:
    from segexport.spec import parse_size

    named: dict[str, MaskSize] = {"input": "input", "network": "network"}
    return named.get(text) or parse_size(text)


def _batch(text: str) -> int:
    from segexport.spec import DYNAMIC

    if text == "dynamic":
        return DYNAMIC
    if not text.isdecimal():
        raise ContractError(f"'{text}' is no batch: pass --batch with a number, or 'dynamic'")
    return int(text)


def _warnings_once() -> Callable[..., None]:
    """A `warnings.showwarning` that prints each kind of ours once, whatever its text, and nobody else's."""
    shown: set[type[Warning]] = set()

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, SegexportWarning) and category not in shown:
            shown.add(category)
            err.print(f"warning: {message}", markup=False)

    return show_warning


def _fail(error: SegexportError) -> NoReturn:
    if _debug:
        raise error
    err.print(f"error: {' '.join(str(error).split())}", markup=False)
    sys.exit(2)


def main() -> None:
    """Entry point of the `segexport` command."""
    warnings.showwarning = _warnings_once()
    warnings.simplefilter("always", SegexportWarning)
    try:
        app()
    except SegexportError as error:
        _fail(error)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
