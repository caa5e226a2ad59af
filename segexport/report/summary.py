"""What a build, a selftest and an engine list say on the terminal."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.table import Table

from segexport import engines, memory
from segexport.bundle import CALIBRATION, MODEL, Bundle, Manifest, PlanFacts
from segexport.engines.base import EngineInfo
from segexport.golden import Selftest
from segexport.naming import BUNDLES
from segexport.precision.emulate import FP16_EMULATED
from segexport.precision.ranges import Ranges
from segexport.spec import DYNAMIC, Contract, PassResult, format_size
from segexport.tensorrt.plan import read_plan
from segexport.tensorrt.plan_file import is_plan

INT8_MOVES_MORE = (
    "INT8 moved more bytes than FP16 in every plan of TensorRT for RTX so far: build FP16 too, and bench both"
)
"""docs/rewrites.md has the figures."""

_NAMED = 2
"""Places a pass rewrote that are named on the terminal; some rewrite one in every block. The manifest has them all."""


def in_short(bundle: Bundle, why: str) -> Iterator[str]:
    """The few lines about a bundle just built that nobody should miss."""
    manifest, facts = bundle.manifest, bundle.manifest.engine
    yield f"bundle     {bundle.folder} ({bundle.size_bytes() / 1e6:.1f} MB)"
    yield f"engine     {facts.name} {facts.version} on {facts.device}, {manifest.precision} ({why})"
    yield f"contract   {contract_line(manifest.contract)}"
    yield from _golden_lines(manifest)
    if manifest.precision == "fp16" and facts.derived and facts.plan is None:
        yield f"note       {FP16_EMULATED}"
    if manifest.precision == "int8" and facts.plan is not None:
        yield f"note       {INT8_MOVES_MORE}"
    for note in manifest.notes:
        yield f"note       {note}"


def what_next(bundle: Bundle) -> Iterator[str]:
    """The command that comes next, and how a GPU gets what was built here for its accuracy alone."""
    manifest, facts = bundle.manifest, bundle.manifest.engine
    folder = shlex.quote(str(bundle.folder))
    if manifest.precision == "fp16" and facts.plan is None and facts.device == "CPU":
        install = "" if engines.info("tensorrt-rtx").version else 'pip install "segexport[rtx]", then '
        yield f"for a GPU  {install}segexport build --from-bundle {folder} --engine tensorrt-rtx"
    if not manifest.golden.get("engine_ran", True):
        yield f"next       on the machine with the GPU: segexport selftest {folder}"
    elif bundle.folder.parent == BUNDLES:
        yield f"next       segexport bench {shlex.quote(manifest.name)}"
    else:
        yield f"next       segexport bench {folder}"


def calibration_hint(bundle: Bundle, calibration: Path | None) -> str | None:
    """How the next engine gets the ranges that were found on the images of `calibration`; None where none were."""
    table = bundle.folder / CALIBRATION
    if calibration is None or not table.is_file() or not calibration.is_dir() or (calibration / CALIBRATION).is_file():
        return None
    folder = shlex.quote(str(bundle.folder))
    return (
        f"ranges     kept in {table}: --calibration {folder} builds for another engine without running the images again"
    )


def of_bundle(bundle: Bundle, why: str) -> Iterator[str]:
    """Everything about a bundle just built."""
    manifest = bundle.manifest
    facts = manifest.engine
    yield f"bundle     {bundle.folder} ({bundle.size_bytes() / 1e6:.1f} MB)"
    yield f"engine     {facts.name} {facts.version} on {facts.device} ({why})"
    yield f"contract   {contract_line(manifest.contract)}"
    yield f"classes    {len(manifest.labels)}" + (
        ", data sets count from 1 (reduce labels)" if manifest.labels.reduce else ""
    )
    yield f"input      {manifest.preprocessing.found_in}"
    yield from rewrite_lines((*manifest.rewrites, *facts.rewrites))
    yield from _precision_lines(bundle)
    if facts.plan is not None:
        yield from _plan_lines(bundle, facts.plan)
    yield from _golden_lines(manifest)
    if (equal := manifest.golden.get("resize_equal_to_pillow")) is not None:
        yield f"resize     {equal:.3%} of the golden image's pixels as Pillow {manifest.golden['resize_pillow']}"
    for note in manifest.notes:
        yield f"note       {note}"
    yield f"memory     {memory.peak_memory_bytes() / 1e6:.0f} MB at peak"


def _golden_lines(manifest: Manifest) -> Iterator[str]:
    what = "golden image's best class" if manifest.contract.mask_size is None else "golden image's pixels"
    yield f"golden     {manifest.golden['agreement_with_reference']:.3%} of the {what} as the reference"
    if not manifest.golden.get("engine_ran", True):
        yield "           by the engine's graph on the CPU: the engine was built and not run, for want of its GPU"


def _precision_lines(bundle: Bundle) -> Iterator[str]:
    """What a precision other than fp32 was made with, and what stayed out of it."""
    manifest, engine = bundle.manifest, bundle.manifest.engine
    yield f"precision  {manifest.precision}"
    if manifest.lowering is None:
        return
    yield f"ranges     from {manifest.lowering.images}"
    if manifest.lowering.fp32:
        yield f"fp32       kept, near FP16's largest number: {', '.join(manifest.lowering.fp32)}"
    if manifest.precision == "int8":
        yield f"int8       {len(engine.int8)} layers on {engine.name}, {len(manifest.lowering.int8)} in {MODEL}"
    if manifest.precision == "fp16" and engine.derived and engine.plan is None:
        yield f"note       {FP16_EMULATED}"


def _plan_lines(bundle: Bundle, facts: PlanFacts) -> Iterator[str]:
    """What TensorRT made of the graph, as its plan tells it."""
    yield f"profiles   {', '.join(facts.profiles)}"
    if bundle.manifest.engine.class_map == "device":
        yield "class map  by a CUDA kernel behind the engine, whose output is the logits"
    if is_plan(bundle.plan):
        found = read_plan(bundle.plan)
        yield f"targets    {', '.join(found.targets) or 'unknown'}"
        for program in found.programs[:1]:
            attention = program.attention
            yield (
                f"plan       {bundle.plan.stat().st_size / 1e6:.1f} MB, {attention.fused} of "
                f"{'unknown' if attention.blocks is None else attention.blocks} attention blocks fused, "
                f"{_megabytes(program.traffic_bytes)} moved a call, {_megabytes(program.scratch_bytes)} scratch"
            )
        if bundle.manifest.precision == "int8":
            yield f"note       {INT8_MOVES_MORE}"
    elif facts.compute_capability is not None:
        yield f"plan       {bundle.plan.stat().st_size / 1e6:.1f} MB for {facts.gpu} ({facts.compute_capability})"


def _megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.0f} MB"


def of_ranges(ranges: Ranges) -> Iterator[str]:
    """Lines about a calibration table."""
    images = ranges.images
    yield f"images     {images.count} of {images.of} of {images.path}, seed {images.seed}, SHA-256 {images.sha256[:12]}"
    yield f"layers     {len(ranges.layers)}"
    counts = Counter(found.method for found in ranges.layers.values())
    yield f"methods    {', '.join(f'{method} {count}' for method, count in counts.most_common())}"
    ratios = ", ".join(f"{name} {ratio:.1f}" for name, ratio in ranges.network_sqnr_db.items())
    yield f"logits     dB left by INT8, by method: {ratios}; {ranges.chosen} taken"
    module, peak = max(ranges.peaks.items(), key=lambda entry: entry[1])
    yield f"peak       {peak:.4g} in {module} (FP16 ends at 65504)"


def contract_line(contract: Contract) -> str:
    """The contract in one line."""
    batch = "N" if contract.batch == DYNAMIC else contract.batch
    height, width = contract.image_size
    image = f"image uint8 [{batch}, {height}, {width}, 3] {contract.channel_order.upper()}"
    if contract.image_size != contract.size:
        image += f", resized to {format_size(contract.content_size)}"
    if contract.content_size != contract.size:
        image += f" in {format_size(contract.size)}"
    plane = "" if contract.mask_size is None else f" at {format_size(contract.mask_size)}"
    return f"{image} -> {', '.join(contract.outputs)}{plane}"


def rewrite_lines(rewrites: Iterable[PassResult]) -> Iterator[str]:
    """What each pass rewrote, and what it left alone and why."""
    for result in rewrites:
        more = len(result.rewritten) - _NAMED
        done = ", ".join(result.rewritten[:_NAMED]) or "nothing to rewrite"
        yield f"rewrite    {result.name} ({result.claim}): {done}{f' and {more} more' if more > 0 else ''}"
        places: dict[str, list[str]] = {}
        for declined in result.declined:
            places.setdefault(declined.reason, []).append(declined.node)
        for reason, nodes in places.items():
            others = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
            yield f"           declined {nodes[0]}{others}: {reason}"


def of_selftest(result: Selftest) -> str:
    """A selftest that passed, in one line."""
    where = "the same engine and processor" if result.same_machine else "another engine version or processor"
    return (
        f"passed: {result.agreement:.4%} of the golden image's pixels as built "
        f"({result.required:.1%} required on {where}), {result.agreement_with_reference:.4%} as the reference"
    )


def engines_table(infos: Iterable[EngineInfo]) -> Table:
    """Every engine, in order of preference."""
    drawn = Table()
    for column in ("engine", "version", "devices", "precisions"):
        drawn.add_column(column, no_wrap=column == "engine")
    for info in infos:
        name = info.name if info.builds else f"{info.name} (reference)"
        devices = ", ".join(info.devices) or ("none; builds" if info.version and info.builds_anywhere else "-")
        precisions = ", ".join(info.precisions) if info.version else "-"
        drawn.add_row(name, info.version or "not installed", devices, precisions)
    return drawn


def of_missing(infos: Iterable[EngineInfo]) -> Iterator[str]:
    """For every engine that cannot run here, what is missing and how to get it."""
    for info in infos:
        if info.version is None:
            yield info.missing or f"{info.name} is not installed: {info.install}"
        elif info.missing:
            yield f"{info.name} cannot run here: {info.missing}"
