"""Commands that make something: bundles, calibration tables, placements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import segexport
from segexport.cli.console import err, out
from segexport.cli.options import (
    Accumulate,
    ChannelOrder,
    ClassMap,
    Engine,
    HardwareCompatibility,
    Output,
    Precision,
    ResizeMode,
    parse_batch,
    parse_mask_size,
    required,
    size_of,
)
from segexport.errors import ContractError

if TYPE_CHECKING:
    from segexport.checkpoint import Checkpoint


def build(
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder; appears whole or not at all.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Folder, .pth file, hub id, or alias: b0 ... b5, b0-cityscapes ..., mit-b0 ..."
        ),
    ] = None,
    from_bundle: Annotated[
        Path | None, typer.Option(help="Build from a bundle instead, for another engine; needs no PyTorch.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="fp32 if not given; int8 takes --calibration, auto also --data; bf16 a CPU that has it."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="For int8 and fp16: a folder of images, or a table of segexport calibrate.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Images to take of the folder; 64 if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of their draw.")] = 0,
    placement: Annotated[
        Path | None, typer.Option(help="For int8: which layers, a file of segexport tune; most if not given.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="auto takes the best that is installed.")] = Engine.auto,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the network's input; the processor's own if not given.")
    ] = None,
    source_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of the camera's images: the graph resizes them as Pillow does.")
    ] = None,
    resize_mode: Annotated[
        ResizeMode,
        typer.Option(help="With --source-size: stretch, letterbox, or shortest-edge (of --size; keeps the aspect)."),
    ] = ResizeMode.stretch,
    batch: Annotated[str, typer.Option(help="Images a call: a number, or 'dynamic'.")] = "1",
    channel_order: Annotated[ChannelOrder, typer.Option(help="Order of the image's channels.")] = ChannelOrder.rgb,
    output: Annotated[
        Output | None,
        typer.Option(help="mask, scores (mask and confidence), logits; topk for a classifier."),
    ] = None,
    mask_size: Annotated[
        str,
        typer.Option(help="input, network (the logits' own, a quarter for the published networks), or HEIGHTxWIDTH."),
    ] = "input",
    data: Annotated[Path | None, typer.Option(help="For auto: labelled images to search on.")] = None,
    confirm: Annotated[
        Path | None, typer.Option(help="For auto: others to confirm on; every other one of --data if not given.")
    ] = None,
    budget: Annotated[float, typer.Option(help="For auto: points of mIoU that may be lost.")] = 0.5,
    rewrites: Annotated[bool, typer.Option("--rewrites/--no-rewrites", help="Apply the exact graph rewrites.")] = True,
    random_init: Annotated[
        bool, typer.Option("--random-init", help="Random weights, for latency and parity only.")
    ] = False,
    ignore_unused: Annotated[
        list[str] | None,
        typer.Option(
            help="A tensor that no SegFormer has and may be left out (* is anything); several times if need be."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    device: Annotated[
        str | None, typer.Option(help="OpenVINO: a device such as CPU or GPU.0; on NVIDIA GPUs cuda:0 and so on.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="tensorrt-rtx: GPUs to build for, such as sm86,sm89 or rtx40; no GPU is needed.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT: images to serve, NxHxW or LEAST:BEST:MOST of them; may be given several times."),
    ] = None,
    class_map: Annotated[
        ClassMap | None,
        typer.Option(
            help="TensorRT: class maps by a CUDA kernel on the device (default), or by operators of the graph."
        ),
    ] = None,
    attention_accumulate: Annotated[
        Accumulate | None, typer.Option(help="TensorRT, fp16 and int8: what attention sums its scores in.")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="TensorRT: MiB of GPU memory for the builder's tactics.")
    ] = None,
    optimization_level: Annotated[int | None, typer.Option(help="TensorRT: 0 (quick build) to 5.")] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="TensorRT: let fp32 round its factors to TF32.")] = False,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="TensorRT: a plan for later minor versions too.")
    ] = False,
    hardware_compatibility: Annotated[
        HardwareCompatibility | None, typer.Option(help="tensorrt: a plan for other GPUs too.")
    ] = None,
    weight_streaming: Annotated[
        bool, typer.Option("--weight-streaming", help="tensorrt: weights may be streamed from the host.")
    ] = False,
    dla: Annotated[int | None, typer.Option(help="tensorrt: core of a Jetson's DLA to build for.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle that stands at --out.")] = False,
) -> None:
    """Build a bundle: a self-contained engine with its manifest and golden image."""
    if (model is None) == (from_bundle is None):
        raise ContractError("name what to build from: --model CHECKPOINT, or --from-bundle DIR, and not both")
    if ignore_unused and from_bundle is not None:
        raise ContractError("a bundle has no unused tensors: leave out --ignore-unused")
    from segexport.asked import require_precision
    from segexport.engines import choose
    from segexport.files import require_absent
    from segexport.report.steps import steps
    from segexport.tensorrt.options import TensorRtOptions, parse_profile
    from segexport.tensorrt.targets import parse_targets

    tensorrt = TensorRtOptions(
        targets=parse_targets(target) if target else (),
        profiles=tuple(map(parse_profile, profile or ())),
        workspace_mib=workspace,
        optimization_level=optimization_level,
        tf32=tf32,
        version_compatible=version_compatible,
        hardware_compatibility=hardware_compatibility.value if hardware_compatibility else "none",
        weight_streaming=weight_streaming,
        dla=dla,
        class_map=class_map.value if class_map else None,
        attention_accumulate=attention_accumulate.value if attention_accumulate else None,
    )
    common: dict[str, Any] = {
        "engine": engine.value,
        "device": device,
        "tensorrt": tensorrt,
        "overwrite": overwrite,
    }
    recipe: dict[str, Any] = {"calibration": calibration, "samples": samples, "seed": seed, "placement": placement}
    options: dict[str, Any] = {
        "size": size_of(size),
        "batch": parse_batch(batch),
        "channel_order": channel_order.value,
        "output": output.value if output else None,
        "mask_size": parse_mask_size(mask_size),
        "source_size": size_of(source_size),
        "resize_mode": resize_mode.value,
        "rewrites": rewrites,
        "random_init": random_init,
        "ignore_unused": tuple(ignore_unused or ()),
        "revision": revision,
    }
    asked: Any = precision.value if precision else None
    found = None
    require_absent(out_dir, overwrite)
    with steps(err) as progress:
        # What the arguments and the checkpoint alone tell is refused before anything heavy is imported.
        source: Any = from_bundle
        if model is not None:
            if precision is not Precision.auto:
                require_precision(asked or "fp32", calibration)
                choose(engine.value, asked or "fp32")
            progress("reading the checkpoint")
            source = _checkpoint(model, options)
        from segexport.report import summary

        if precision is Precision.auto:
            from segexport.tuning import run

            search = run.Search(
                required(data, "--data"), required(calibration, "--calibration"), confirm, budget, samples, seed
            )
            named = {"model" if from_bundle is None else "from_bundle": source}
            bundle, found = run.build_auto(out_dir, search, **named, progress=progress, **common, **options)
        elif from_bundle is not None:
            bundle = segexport.rebuild(from_bundle, out_dir, precision=asked, progress=progress, **common, **recipe)
        else:
            bundle = segexport.build(
                source, out_dir, precision=asked or "fp32", progress=progress, **common, **recipe, **options
            )
    if found is not None:
        from segexport.report import pareto

        out.print(pareto.table(found))
        for line in pareto.lines(found):
            out.print(line)
    why = "the fastest installed here" if engine is Engine.auto else "asked for"
    for line in summary.of_bundle(bundle, why):
        out.print(line)


def _checkpoint(model: str, options: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint, once it is known that it can serve what is asked.

    Raises:
        CheckpointError, ContractError: it cannot be had, or cannot.
    """
    from segexport.contracts import contract_for

    reading = {name: options[name] for name in ("revision", "random_init", "ignore_unused")}
    loaded = segexport.load(model, **reading)
    contract_for(loaded, **{name: options[name] for name in options if name not in (*reading, "rewrites")})
    return loaded


def calibrate(
    data: Annotated[Path, typer.Option(help="Folder of images, or of images/; or a Hugging Face data set folder.")],
    out_file: Annotated[Path, typer.Option("--out", "-o", help="The table to write, JSON.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Folder, .pth, hub id, or alias, as for build.")
    ] = None,
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
        graph = segexport.graph_of(model, from_bundle, size=size_of(size), progress=progress)
        ranges = segexport.calibrate(graph, data, samples=samples, seed=seed, progress=progress)
    ranges.save(out_file)
    for line in summary.of_ranges(ranges):
        out.print(line)


def tune(
    data: Annotated[Path, typer.Option(help="Labelled images to search on, as for bench.")],
    calibration: Annotated[Path, typer.Option(help="A folder of other images, or a table of segexport calibrate.")],
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the placement and all that was measured.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Folder, .pth, hub id, or alias, as for build.")
    ] = None,
    from_bundle: Annotated[Path | None, typer.Option(help="A bundle in fp32 instead; needs no PyTorch.")] = None,
    confirm: Annotated[
        Path | None, typer.Option(help="Images to confirm on; every other one of --data if not given.")
    ] = None,
    budget: Annotated[float, typer.Option(help="Points of mIoU that may be lost against fp32.")] = 0.5,
    engine: Annotated[Engine, typer.Option(help="The engine to be fast on; auto is the best installed.")] = Engine.auto,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the network's input, with --model.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Images to calibrate on; 64 if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of their draw.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; the engine's default if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier search at --out.")] = False,
) -> None:
    """Search the fastest INT8 placement within a budget of mIoU, measured on the engine at hand."""
    from segexport.report import pareto
    from segexport.report.steps import steps
    from segexport.tuning import run

    search = run.Search(data, calibration, confirm, budget, samples, seed, limit, threads)
    options = {"size": size_of(size)} if model is not None else {}
    with steps(err) as progress:
        found = run.tune_to_folder(
            out_dir,
            search,
            model=model,
            from_bundle=from_bundle,
            engine=engine.value,
            overwrite=overwrite,
            progress=progress,
            **options,
        )
    out.print(pareto.table(found))
    for line in pareto.lines(found):
        out.print(line)
    out.print(f"placement  {out_dir / 'placement.json'}" if found.placement.int8 else f"written    {out_dir}")
    if not pareto.can_draw():
        out.print(pareto.NO_PICTURE)


COMMANDS = (build, calibrate, tune)
