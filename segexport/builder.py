"""Checkpoint -> bundle, and bundle -> bundle for another engine."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import onnx

from segexport import __version__, checkpoint, exporter, golden, machine, passes
from segexport.bundle import (
    CACHE,
    ENGINE_GRAPH,
    GOLDEN_IMAGE,
    MODEL,
    Bundle,
    EngineFacts,
    Manifest,
    open_bundle,
    write_manifest,
)
from segexport.checkpoint import Checkpoint
from segexport.decision import agreement
from segexport.engines import EngineInfo, choose, open_runner
from segexport.engines.pytorch import open_checkpoint
from segexport.errors import ContractError
from segexport.files import new_folder, require_absent
from segexport.graph.graph import Graph, open_graph
from segexport.images import encode_png, read_image
from segexport.spec import ChannelOrder, MaskSize, Output, Precision, ResizeMode, Size

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Progress = Callable[[str], None]
"""Called with the name of each step as it starts."""


def _silent(step: str) -> None:
    pass


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
    progress: Progress = _silent,
) -> Graph:
    """Checkpoint -> ONNX graph in memory, raw uint8 image in, class map out; arguments as for `build`.

    Raises:
        CheckpointError, ContractError, EngineUnavailable: see `segexport.errors`.
    """
    loaded = model if isinstance(model, Checkpoint) else checkpoint.load(model)
    contract = exporter.contract_for(
        loaded,
        size=size,
        batch=batch,
        channel_order=channel_order,
        output=output,
        mask_size=mask_size,
        source_size=source_size,
        resize_mode=resize_mode,
    )
    progress("tracing PyTorch")
    graph = exporter.export(loaded, contract)
    if rewrites:
        progress("rewriting the graph")
        passes.run(graph)
    return graph


def build(
    model: str | Path | Checkpoint,
    out: str | Path,
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
    random_init: bool = False,
    revision: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = _silent,
) -> Bundle:
    """Build a bundle: export, rewrite, compile for one engine, and record the golden results.

    Args:
        model: a folder, hub id or alias (see `segexport.checkpoint.load`), or a checkpoint already loaded.
        out: the bundle's folder; it appears whole or not at all.
        engine: `auto`, `onnxruntime` or `openvino`.
        precision: `fp32`, or `bf16` (OpenVINO, on CPUs that have it).
        size: height and width of the network's input; the processor's own if None.
        batch: images a call, or `segexport.spec.DYNAMIC`.
        channel_order: `rgb` or `bgr`.
        output: `mask`, `scores` or `logits`; `topk` or `logits` for an image classifier.
        mask_size: `input` (the image's), `network` (the logits' own, a quarter), or height and width.
        source_size: height and width of the images, which the graph resizes as Pillow does; `size` if None.
        resize_mode: with a source_size, how: `stretch`, as transformers' processor does; `letterbox`, keeping the
            aspect inside of zeros; or `shortest-edge`, keeping it by choosing the network's size.
        rewrites: apply the exact rewrites of `segexport.passes`.
        random_init: random weights, for latency and parity only.
        revision: branch, tag or commit on the hub.
        device: an OpenVINO device.
        overwrite: replace a bundle that stands at `out`.
        progress: told the name of each step as it starts.

    Raises:
        CheckpointError, ContractError, EngineUnavailable, OutputError: see `segexport.errors`.
    """
    _require_precision(precision)
    require_absent(Path(out), overwrite)
    chosen = choose(engine, precision)
    progress("reading the checkpoint")
    loaded = (
        model if isinstance(model, Checkpoint) else checkpoint.load(model, revision=revision, random_init=random_init)
    )
    graph = export(
        loaded,
        size=size,
        batch=batch,
        channel_order=channel_order,
        output=output,
        mask_size=mask_size,
        source_size=source_size,
        resize_mode=resize_mode,
        rewrites=rewrites,
        progress=progress,
    )
    with new_folder(Path(out), overwrite=overwrite) as folder:
        progress("checking the graph")
        graph.save(folder / MODEL)
        onnx.checker.check_model(folder / MODEL, full_check=True)
        progress("golden image with PyTorch")
        picture = golden.image_for(graph.contract)
        (folder / "golden").mkdir()
        (folder / GOLDEN_IMAGE).write_bytes(encode_png(picture))
        with open_checkpoint(loaded, dataclasses.replace(graph.contract, channel_order="rgb")) as reference:
            golden.write(folder, "reference", golden.decide(reference, picture), graph.labels)
        manifest = _manifest(graph, chosen, device, precision, loaded.notes)
        resized = golden.resize_facts(graph.contract, graph.preprocessing, picture)
        manifest = dataclasses.replace(manifest, golden=resized)
        _finish(folder, manifest, progress)
    return open_bundle(out)


def rebuild(
    source: str | Path | Bundle,
    out: str | Path,
    *,
    engine: str = "auto",
    precision: Precision | None = None,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = _silent,
) -> Bundle:
    """A new bundle for another engine from an existing one; needs neither PyTorch nor the checkpoint.

    Args:
        source: a bundle, which stays as it is.
        out: the new bundle's folder.
        engine: as for `build`.
        precision: as for `build`; the source's own if None.
        device: as for `build`.
        overwrite: as for `build`.
        progress: as for `build`.

    Raises:
        BundleCorrupt, EngineUnavailable, OutputError: see `segexport.errors`.
    """
    require_absent(Path(out), overwrite)
    bundle = source if isinstance(source, Bundle) else open_bundle(source)
    precision = precision or bundle.manifest.precision
    _require_precision(precision)
    chosen = choose(engine, precision)
    with new_folder(Path(out), overwrite=overwrite) as folder:
        progress("copying the graph")
        shutil.copy2(bundle.model, folder / MODEL)
        (folder / "golden").mkdir()
        for path in (bundle.folder / "golden").iterdir():
            if path.stem != "engine":
                shutil.copy2(path, folder / "golden")
        manifest = dataclasses.replace(
            bundle.manifest,
            segexport=__version__,
            precision=precision,
            engine=_engine_facts(chosen, device),
            versions=machine.versions(),
        )
        _finish(folder, manifest, progress)
    return open_bundle(out)


def _finish(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Build for the engine, record what it makes of the golden image, and seal the bundle."""
    if manifest.rewrites:
        progress("deriving the engine's graph")
        manifest = dataclasses.replace(manifest, engine=_derive(folder, manifest.engine))
    facts = manifest.engine
    progress(f"building for {facts.name} {facts.version}")
    picture = read_image(folder / GOLDEN_IMAGE)
    with open_runner(Bundle(folder, manifest)) as runner:
        found = golden.decide(runner, picture)
    shutil.rmtree(folder / CACHE, ignore_errors=True)  # by this folder's path, which the bundle will not have
    golden.write(folder, "engine", found, manifest.labels)
    equal = agreement(found, golden.read(folder, "reference"))
    progress("sealing the bundle")
    facts_of_golden = {**manifest.golden, "seed": golden.GOLDEN_SEED, "agreement_with_pytorch": equal}
    write_manifest(folder, dataclasses.replace(manifest, golden=facts_of_golden))


def _derive(folder: Path, facts: EngineFacts) -> EngineFacts:
    """Write the engine's own graph, where passes make it another than the portable one."""
    if facts.device != "CPU":
        return facts  # what pays was measured on CPUs
    graph = open_graph(folder / MODEL)
    earlier = len(graph.rewrites)
    passes.run(graph, passes.FOR_ENGINE[facts.name])
    rewrites = graph.rewrites[earlier:]
    if any(result.rewritten for result in rewrites):
        graph.save(folder / ENGINE_GRAPH)
    on_host = any(result.rewritten for result in rewrites if result.name == passes.ClassMapOnHost.name)
    return dataclasses.replace(facts, class_map="host" if on_host else "graph", rewrites=rewrites)


def _require_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ContractError(f"precision {precision} cannot be built: pass --precision {' or '.join(PRECISIONS)}")


def _manifest(
    graph: Graph,
    chosen: EngineInfo,
    device: str | None,
    precision: Precision,
    notes: tuple[str, ...],
) -> Manifest:
    return Manifest(
        segexport=__version__,
        source=graph.source,
        precision=precision,
        contract=graph.contract,
        preprocessing=graph.preprocessing,
        labels=graph.labels,
        engine=_engine_facts(chosen, device),
        rewrites=graph.rewrites,
        golden={},
        versions=machine.versions(),
        notes=notes,
    )


def _engine_facts(chosen: EngineInfo, device: str | None) -> EngineFacts:
    return EngineFacts(chosen.name, chosen.version or "", device or "CPU", machine.processor())
