"""Checkpoint -> graph, ranges and bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from segexport import __version__, checkpoint, contracts, exporter, golden, machine, passes, reference
from segexport.asked import require_precision
from segexport.assembly import (
    Progress,
    engine_facts,
    finish,
    recipe_for,
    require_options,
    save_recipe,
    silent,
    with_engine_graph,
    with_plan,
)
from segexport.bundle import GOLDEN_IMAGE, MODEL, Bundle, Manifest, open_bundle
from segexport.calibration.sources import ranges_for
from segexport.checkpoint import Checkpoint
from segexport.engines import EngineInfo, choose
from segexport.errors import ContractError, PrecisionError
from segexport.files import new_folder, require_absent
from segexport.graph.graph import Graph, open_graph
from segexport.graph.save import check_model
from segexport.images import encode_png
from segexport.lowering import PORTABLE, lower
from segexport.naming import default_folder
from segexport.precision.placement import Placement
from segexport.precision.ranges import Ranges
from segexport.segformer.network import Tensors
from segexport.spec import ChannelOrder, Contract, MaskSize, Output, Precision, ResizeMode, Size
from segexport.tensorrt.flavour import FLAVOURS
from segexport.tensorrt.options import DEFAULTS, TensorRtOptions


def export(
    model: str | Path | Checkpoint,
    *,
    size: Size | None = None,
    batch: int = 1,
    channel_order: ChannelOrder = "rgb",
    output: Output | None = None,
    mask_size: MaskSize | Size = "input",
    source_size: Size | None = None,
    resize_mode: ResizeMode = "stretch",
    rewrites: bool = True,
    progress: Progress = silent,
) -> Graph:
    """Checkpoint -> ONNX graph in memory, raw uint8 image in, class map out; arguments as for `build`.

    Raises:
        CheckpointError, ContractError, EngineUnavailable: see `segexport.errors`.
    """
    loaded = model if isinstance(model, Checkpoint) else checkpoint.load(model)
    contract = contracts.contract_for(
        loaded,
        size=size,
        batch=batch,
        channel_order=channel_order,
        output=output,
        mask_size=mask_size,
        source_size=source_size,
        resize_mode=resize_mode,
    )
    return _graph(loaded, contract, None, rewrites, progress)


def _graph(
    loaded: Checkpoint, contract: Contract, tensors: Tensors | None, rewrites: bool, progress: Progress
) -> Graph:
    progress("writing the graph")
    graph = exporter.export(loaded, contract, tensors)
    if rewrites:
        progress("rewriting the graph")
        passes.run(graph)
    return graph


def build(
    model: str | Path | Checkpoint,
    out: str | Path | None = None,
    *,
    engine: str = "auto",
    precision: Precision = "fp32",
    size: Size | None = None,
    batch: int = 1,
    channel_order: ChannelOrder = "rgb",
    output: Output | None = None,
    mask_size: MaskSize | Size = "input",
    source_size: Size | None = None,
    resize_mode: ResizeMode = "stretch",
    rewrites: bool = True,
    calibration: str | Path | Ranges | None = None,
    samples: int | None = None,
    seed: int = 0,
    placement: str | Path | Placement | None = None,
    random_init: bool = False,
    ignore_unused: Sequence[str] = (),
    revision: str | None = None,
    device: str | None = None,
    tensorrt: TensorRtOptions = DEFAULTS,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Build a bundle: export, rewrite, compile for one engine, and record the golden results.

    Args:
        model: a folder, hub id or alias (see `segexport.checkpoint.load`), or a checkpoint already loaded.
        out: the bundle's folder, which appears whole or not at all; `segexport.naming.default_folder` if None.
        engine: `auto`, or one of `segexport.engines.ENGINES`.
        precision: `fp32`; `bf16` (OpenVINO, on CPUs that have it); `fp16`; or `int8`, which needs `calibration`.
        size: height and width of the network's input; the processor's own if None.
        batch: images a call, or `segexport.spec.DYNAMIC`.
        channel_order: `rgb` or `bgr`.
        output: `mask`, `scores` or `logits`; `topk` or `logits` for an image classifier.
        mask_size: `input` (the image's), `network` (the logits' own, a quarter for the published networks), or height
            and width.
        source_size: height and width of the images, which the graph resizes as Pillow does; `size` if None.
        resize_mode: with a source_size, how: `stretch`, as transformers' processor does; `letterbox`, keeping the
            aspect inside of zeros; or `shortest-edge`, keeping it by choosing the network's size.
        rewrites: apply the exact rewrites of `segexport.passes`.
        calibration: for int8 and fp16, a folder of images or a table of `calibrate`. FP16 can do without: scenes that
            segexport draws then tell where numbers come near its largest.
        samples: images to take of a folder.
        seed: of their draw.
        placement: for int8, which layers: a file of `tune`, or a placement; if None all but the first and the last.
        random_init: random weights, for latency and parity only.
        ignore_unused: tensors of the checkpoint that no SegFormer has and that may be left out, as for
            `segexport.checkpoint.load`.
        revision: branch, tag or commit on the hub.
        device: an OpenVINO device.
        tensorrt: how to build an engine of either TensorRT.
        overwrite: replace a bundle that stands at `out`.
        progress: told the name of each step as it starts.

    Raises:
        CheckpointError, ContractError, DataError, EngineUnavailable, OutputError, PrecisionError: see
            `segexport.errors`.
    """
    require_precision(precision, calibration)
    if out is not None:
        require_absent(Path(out), overwrite)
    chosen = choose(engine, precision)
    require_options(chosen, tensorrt, precision)
    loaded = model
    if not isinstance(loaded, Checkpoint):
        progress("reading the checkpoint")
        loaded = checkpoint.load(loaded, revision=revision, random_init=random_init, ignore_unused=ignore_unused)
    contract = contracts.contract_for(
        loaded,
        size=size,
        batch=batch,
        channel_order=channel_order,
        output=output,
        mask_size=mask_size,
        source_size=source_size,
        resize_mode=resize_mode,
    )
    target = Path(out or default_folder(loaded.name, contract, loaded.preprocessing, precision, chosen.name))
    require_absent(target, overwrite)
    progress("golden image by the reference")
    tensors = loaded.tensors()
    picture = golden.image_for(contract)
    expected = reference.decide(loaded, tensors, contract, picture)
    graph = _graph(loaded, contract, tensors, rewrites, progress)
    del tensors
    recipe = recipe_for(graph, precision, calibration, placement, samples, seed, progress)
    with new_folder(target, overwrite=overwrite) as folder:
        progress("checking the graph")
        portable, lowering = lower(graph, recipe)
        check_model(portable.model)
        portable.save(folder / MODEL)
        (folder / "golden").mkdir()
        (folder / GOLDEN_IMAGE).write_bytes(encode_png(picture))
        golden.write(folder, "reference", expected, graph.labels)
        manifest = _manifest(graph, chosen, device, precision, loaded)
        resized = golden.resize_facts(graph.contract, graph.preprocessing, picture)
        manifest = dataclasses.replace(manifest, golden=resized, lowering=lowering)
        save_recipe(folder, recipe)
        if chosen.name in FLAVOURS:
            manifest = with_plan(folder, manifest, portable, tensorrt, progress)
        else:
            manifest = with_engine_graph(folder, manifest, graph, portable, recipe, progress)
        del graph, portable, recipe  # the engine is about to load the weights itself
        manifest = finish(folder, manifest, progress)
    return Bundle(target, manifest)


def calibrate(
    graph: Graph,
    data: str | Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Ranges:
    """The ranges of a graph's activations on images, to build fp16 and int8 with.

    Args:
        graph: in FP32, from `export` (or `segexport.graph.graph.open_graph` of a bundle's `model.onnx`).
        data: a folder of images (or of `images/`), or a Hugging Face data set folder.
        samples: images to take; 64, or all of fewer, if None.
        seed: of their draw.
        progress: told the name of each step as it starts.

    Raises:
        DataError, EngineUnavailable, PrecisionError: see `segexport.errors`.
    """
    ranges = ranges_for(graph, "int8", Path(data), samples=samples, seed=seed, progress=progress)
    assert ranges is not None
    return ranges


def graph_of(
    model: str | Path | None,
    from_bundle: str | Path | None,
    *,
    size: Size | None = None,
    progress: Progress = silent,
) -> Graph:
    """The portable graph in FP32 of a checkpoint, or of a bundle, which needs no PyTorch.

    Raises:
        ContractError: neither or both are named, or a size for a bundle, which has its own.
        PrecisionError: the bundle's graph is in FP16 or INT8.
        BundleCorrupt, CheckpointError, EngineUnavailable: see `segexport.errors`.
    """
    if (model is None) == (from_bundle is None):
        raise ContractError("name what to read: --model CHECKPOINT, or --from-bundle DIR, and not both")
    if from_bundle is None:
        return export(model or "", size=size, progress=progress)
    if size is not None:
        raise ContractError("a bundle has its size: leave out --size, or pass --model")
    return fp32_graph(open_bundle(from_bundle))


def fp32_graph(bundle: Bundle) -> Graph:
    """The portable graph of a bundle in fp32 or bf16.

    Raises:
        PrecisionError: it is in FP16 or INT8, which nothing else can be made of.
    """
    if PORTABLE[bundle.manifest.precision] != "fp32":
        raise PrecisionError(f"{bundle.folder} is {bundle.manifest.precision}: pass a bundle in fp32")
    return open_graph(bundle.model)


def _manifest(
    graph: Graph,
    chosen: EngineInfo,
    device: str | None,
    precision: Precision,
    loaded: Checkpoint,
) -> Manifest:
    return Manifest(
        segexport=__version__,
        source=graph.source,
        precision=precision,
        contract=graph.contract,
        preprocessing=graph.preprocessing,
        labels=graph.labels,
        engine=engine_facts(chosen, device),
        rewrites=graph.rewrites,
        golden={},
        versions=machine.versions(),
        notes=loaded.notes,
        name=loaded.name,
    )
