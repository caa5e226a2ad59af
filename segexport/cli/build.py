"""Commands that make something: bundles, calibration tables, placements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

import segexport
from segexport.cli import console, options
from segexport.cli.options import COUNT, ENGINE, NAME, PATH, parse_batch, parse_mask_size, required, size_of
from segexport.cli.tune import show
from segexport.errors import ContractError
from segexport.spec import ChannelOrder, Output, Precision, ResizeMode

if TYPE_CHECKING:
    from segexport.checkpoint import Checkpoint
    from segexport.passes.half_scores import Accumulate
    from segexport.tensorrt.options import ClassMapPlace, HardwareCompatibility


@click.command(cls=options.Command)
@click.option(
    "--model",
    "-m",
    type=NAME,
    metavar="NAME",
    help="Folder, .pth file, hub id, or alias: b0 ... b5, b0-cityscapes ..., mit-b0 ...",
)
@click.option(
    "--out", "-o", "out_dir", type=PATH, help="The bundle's folder; bundles/NAME-PRECISION-ENGINE if not given."
)
@click.option("--from-bundle", type=PATH, help="Build from a bundle instead, for another engine; needs no PyTorch.")
@click.option(
    "--precision",
    type=click.Choice((*get_args(Precision), "auto")),
    help="fp32 if not given; int8 takes --calibration, auto also --data; bf16 a CPU that has it.",
)
@click.option(
    "--calibration", type=PATH, help="For int8 and fp16: a folder of images, or a table of segexport calibrate."
)
@click.option("--samples", type=COUNT, help="Images to take of the folder; 64 if not given.")
@options.draw_seed
@click.option("--placement", type=PATH, help="For int8: which layers, a file of segexport tune; most if not given.")
@click.option("--engine", type=ENGINE, default="auto", help="auto takes the best that is installed.")
@click.option("--size", help="HEIGHTxWIDTH of the network's input; the processor's own if not given.")
@click.option("--source-size", help="HEIGHTxWIDTH of the camera's images: the graph resizes them as Pillow does.")
@click.option(
    "--resize-mode",
    type=click.Choice(get_args(ResizeMode)),
    default="stretch",
    help="With --source-size: stretch, letterbox, or shortest-edge (of --size; keeps the aspect).",
)
@click.option("--batch", default="1", help="Images a call: a number, or 'dynamic'.")
@click.option(
    "--channel-order", type=click.Choice(get_args(ChannelOrder)), default="rgb", help="Order of the image's channels."
)
@click.option(
    "--output",
    type=click.Choice(get_args(Output)),
    help="mask, scores (mask and confidence), logits; topk for a classifier.",
)
@click.option(
    "--mask-size",
    default="input",
    help="input, network (the logits' own, a quarter for the published networks), or HEIGHTxWIDTH.",
)
@click.option("--data", type=PATH, help="For auto: labelled images to search on.")
@click.option("--confirm", type=PATH, help="For auto: others to confirm on; every other one of --data if not given.")
@click.option("--budget", default=0.5, help="For auto: points of mIoU that may be lost.")
@click.option("--rewrites/--no-rewrites", default=True, help="Apply the exact graph rewrites.")
@click.option("--random-init", is_flag=True, help="Random weights, for latency and parity only.")
@click.option(
    "--ignore-unused",
    multiple=True,
    help="A tensor that no SegFormer has and may be left out (* is anything); several times if need be.",
)
@options.revision
@click.option("--device", help="OpenVINO: a device such as CPU or GPU.0; on NVIDIA GPUs cuda:0 and so on.")
@click.option("--target", help="tensorrt-rtx: GPUs to build for, such as sm86,sm89 or rtx40; no GPU is needed.")
@click.option(
    "--profile",
    multiple=True,
    help="TensorRT: images to serve, NxHxW or LEAST:BEST:MOST of them; may be given several times.",
)
@click.option(
    "--class-map",
    type=click.Choice(("device", "graph")),
    help="TensorRT: class maps by a CUDA kernel on the device (default), or by operators of the graph.",
)
@click.option(
    "--attention-accumulate",
    type=click.Choice(("fp16", "fp32")),
    help="TensorRT, fp16 and int8: what attention sums its scores in.",
)
@click.option("--workspace", type=int, help="TensorRT: MiB of GPU memory for the builder's tactics.")
@click.option("--optimization-level", type=int, help="TensorRT: 0 (quick build) to 5.")
@click.option("--tf32", is_flag=True, help="TensorRT: let fp32 round its factors to TF32.")
@click.option("--version-compatible", is_flag=True, help="TensorRT: a plan for later minor versions too.")
@click.option(
    "--hardware-compatibility",
    type=click.Choice(("same-compute-capability", "ampere-plus")),
    help="tensorrt: a plan for other GPUs too.",
)
@click.option("--weight-streaming", is_flag=True, help="tensorrt: weights may be streamed from the host.")
@click.option("--dla", type=int, help="tensorrt: core of a Jetson's DLA to build for.")
@click.option("--overwrite", is_flag=True, help="Replace the bundle that stands at --out.")
@click.option("--verbose", "-v", is_flag=True, help="Say everything: classes, rewrites, layers, memory.")
def build(
    model: str | None,
    out_dir: Path | None,
    from_bundle: Path | None,
    precision: Precision | Literal["auto"] | None,
    calibration: Path | None,
    samples: int | None,
    seed: int,
    placement: Path | None,
    engine: str,
    size: str | None,
    source_size: str | None,
    resize_mode: ResizeMode,
    batch: str,
    channel_order: ChannelOrder,
    output: Output | None,
    mask_size: str,
    data: Path | None,
    confirm: Path | None,
    budget: float,
    rewrites: bool,
    random_init: bool,
    ignore_unused: tuple[str, ...],
    revision: str | None,
    device: str | None,
    target: str | None,
    profile: tuple[str, ...],
    class_map: ClassMapPlace | None,
    attention_accumulate: Accumulate | None,
    workspace: int | None,
    optimization_level: int | None,
    tf32: bool,
    version_compatible: bool,
    hardware_compatibility: HardwareCompatibility | None,
    weight_streaming: bool,
    dla: int | None,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Build a bundle: a self-contained engine with its manifest and golden image."""
    if (model is None) == (from_bundle is None):
        raise ContractError("name what to build from: --model CHECKPOINT, or --from-bundle DIR, and not both")
    if ignore_unused and from_bundle is not None:
        raise ContractError("a bundle has no unused tensors: leave out --ignore-unused")
    # What the options alone tell is refused before anything heavy is imported.
    from segexport.asked import require_precision
    from segexport.files import require_absent
    from segexport.tensorrt.options import TensorRtOptions, parse_profile
    from segexport.tensorrt.targets import parse_targets

    tensorrt = TensorRtOptions(
        targets=parse_targets(target) if target else (),
        profiles=tuple(map(parse_profile, profile)),
        workspace_mib=workspace,
        optimization_level=optimization_level,
        tf32=tf32,
        version_compatible=version_compatible,
        hardware_compatibility=hardware_compatibility or "none",
        weight_streaming=weight_streaming,
        dla=dla,
        class_map=class_map,
        attention_accumulate=attention_accumulate,
    )
    common: dict[str, Any] = {
        "engine": engine,
        "device": device,
        "tensorrt": tensorrt,
        "overwrite": overwrite,
    }
    recipe: dict[str, Any] = {"calibration": calibration, "samples": samples, "seed": seed, "placement": placement}
    contract: dict[str, Any] = {
        "size": size_of(size),
        "batch": parse_batch(batch),
        "channel_order": channel_order,
        "output": output,
        "mask_size": parse_mask_size(mask_size),
        "source_size": size_of(source_size),
        "resize_mode": resize_mode,
        "rewrites": rewrites,
        "random_init": random_init,
        "ignore_unused": ignore_unused,
        "revision": revision,
    }
    found = None
    if model is not None and precision != "auto":
        require_precision(precision or "fp32", calibration)
    if out_dir is not None:
        require_absent(out_dir, overwrite)
    from segexport.engines import choose, why_chosen
    from segexport.report.steps import steps

    with steps(console.err) as progress:
        source: Any = from_bundle
        if model is not None:
            if precision != "auto":
                choose(engine, precision or "fp32")
            progress("reading the checkpoint")
            source = _checkpoint(model, contract)
        from segexport.report import summary

        if precision == "auto":
            from segexport.tuning import SearchStopped, run

            search = run.Search(
                required(data, "--data"), required(calibration, "--calibration"), confirm, budget, samples, seed
            )
            named = {"model" if from_bundle is None else "from_bundle": source}
            try:
                bundle, found = run.build_auto(out_dir, search, **named, progress=progress, **common, **contract)
            except SearchStopped as stopped:
                show(stopped.found)
                raise
        elif from_bundle is not None:
            bundle = segexport.rebuild(from_bundle, out_dir, precision=precision, progress=progress, **common, **recipe)
        else:
            bundle = segexport.build(
                source, out_dir, precision=precision or "fp32", progress=progress, **common, **recipe, **contract
            )
    if found is not None:
        show(found)
    why = why_chosen(bundle.manifest.engine.name, bundle.manifest.precision) if engine == "auto" else "asked for"
    for line in summary.of_bundle(bundle, why) if verbose else summary.in_short(bundle, why):
        console.out.print(line, markup=False)
    if (hint := summary.calibration_hint(bundle, calibration)) is not None:
        console.out.print(hint, markup=False)
    for line in summary.what_next(bundle):
        console.out.print(line, markup=False)


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
