"""What each exact rewrite gains on this machine: the table of docs/rewrites.md, and its figures as JSON.

python benchmarks/rewrites.py                               B0, random weights, 512x512, every engine installed
python benchmarks/rewrites.py --models b0,b2 --calls 60     more of it
python benchmarks/rewrites.py --checkpoint DIR --print      trained weights; the table is printed, nothing written

Every variant of an engine is called in turn, in one process: the plain graph, the engine's whole pipeline, the pipeline
without each of its passes, and with each pass that is not part of it. Once with all cores, timed by the clock; once
with one thread, timed in CPU seconds, which other programs on the machine disturb much less.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt

from benchmarks import gains
from benchmarks.gains import FULL, PLAIN, WITH, WITHOUT
from benchmarks.run import RESULTS, slug
from segexport import checkpoint, engines, export, golden, machine, native, passes
from segexport.bench import SETTLE_SECONDS
from segexport.checkpoint import Checkpoint
from segexport.engines import onnxruntime, openvino
from segexport.engines.base import Runner
from segexport.errors import EngineUnavailable, SegexportError
from segexport.graph.graph import open_graph
from segexport.images import UInt8
from segexport.inspection import multiply_accumulates
from segexport.passes import CANDIDATES, FOR_ENGINE, PIPELINE, ClassMapOnHost
from segexport.passes.base import Pass
from segexport.spec import IMAGE, LOGITS, Contract, parse_size

DOCS = Path(__file__).parents[1] / "docs" / "rewrites.md"
SCHEMA = 1
SEED = 0
WARMUP_CALLS = 3
FUSION = "ONNX Runtime: its SkipLayerNorm fusion off"


@dataclass(frozen=True)
class Variant:
    """A graph, and how an engine runs it. `kind` says what it is to the pipeline: itself, or with or without `name`."""

    name: str
    kind: str
    graph: Path
    logits: Path
    """The same network, ending at its logits."""
    on_host: bool
    disabled: tuple[str, ...] = onnxruntime.DISABLED
    """Of ONNX Runtime's own optimizers."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _options(arguments)
    try:
        if not native.available():
            raise EngineUnavailable(native.MISSING)
        names = [engines.require(name, "fp32").name for name in options.engines]
        found = {
            "schema": SCHEMA,
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine.describe(),
            "calls": options.calls,
            "models": [_model(name, loaded, names, options) for name, loaded in _checkpoints(options)],
        }
    except SegexportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = gains.render(found)
    if options.print:
        print(table)
        return 0
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"rewrites-{slug(machine.processor())}.json"
    result.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    DOCS.write_text(gains.between_markers(DOCS.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(f"wrote {result} and the table in {DOCS}")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    installed = [name for name in FOR_ENGINE if engines.info(name).version is not None]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", default="b0", metavar="A,B", help="aliases, with random weights (b0)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="this checkpoint instead")
    parser.add_argument("--size", type=parse_size, metavar="HxW", help="of the image; the processor's own otherwise")
    parser.add_argument("--engines", default=",".join(installed), metavar="A,B", help="those installed otherwise")
    parser.add_argument("--calls", type=int, default=40, metavar="N", help="timed calls of each variant (40)")
    parser.add_argument("--print", action="store_true", help="print the table and write nothing")
    options = parser.parse_args(arguments)
    options.engines = options.engines.split(",")
    for name in options.engines:
        if name not in FOR_ENGINE:
            parser.error(f"there are no passes for {name}: choose from {', '.join(FOR_ENGINE)}")
    return options


def _checkpoints(options: argparse.Namespace) -> Iterator[tuple[str, Checkpoint]]:
    if options.checkpoint is not None:
        yield options.checkpoint.name, checkpoint.load(options.checkpoint)
    else:
        for name in options.models.split(","):
            yield name, checkpoint.load(name, random_init=True)


def _model(name: str, loaded: Checkpoint, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="segexport-rewrites-") as temporary:
        folder = Path(temporary)
        _say(f"{name}: exporting the plain graph")
        graph = export(loaded, size=options.size, rewrites=False)
        graph.save(folder / "plain.onnx")
        return {
            "model": name,
            "size": list(graph.contract.size),
            "labels": len(graph.labels),
            "random_weights": graph.source.random_weights,
            "engines": [_engine(name, engine, graph.contract, folder, options.calls) for engine in names],
        }


def _engine(model: str, engine: str, contract: Contract, folder: Path, calls: int) -> dict[str, Any]:
    """Every variant of one engine."""
    variants = list(_variants(engine, folder))
    image = golden.image_for(contract)[None]
    found: dict[str, Any] = {"engine": engine, "version": engines.info(engine).version}
    # A process for each, so that none inherits the other's memory or threads.
    _say(f"{model}, {engine}: logits of {len(variants)} variants")
    found["largest_logit"], differences = _apart(_differences, engine, variants, image)
    _say(f"{model}, {engine}: {calls} calls of each, all cores")
    latency = _apart(_measure, engine, variants, image, contract, calls, None, time.perf_counter)
    _say(f"{model}, {engine}: {calls} calls of each, one thread")
    cpu = _apart(_measure, engine, variants, image, contract, calls, 1, time.process_time)
    kinds = [variant.kind for variant in variants]
    found["rows"] = [
        {
            "name": variant.name,
            "kind": variant.kind,
            "latency": gains.compared(variant.kind, latency[index], latency[kinds.index(FULL)]),
            "cpu": gains.compared(variant.kind, cpu[index], cpu[kinds.index(FULL)]),
            "difference": differences[index],
            "macs": multiply_accumulates(variant.graph),
        }
        for index, variant in enumerate(variants)
    ]
    return found


def _variants(engine: str, folder: Path) -> Iterator[Variant]:
    own = (*PIPELINE, *FOR_ENGINE[engine])
    full = _variant(FULL, FULL, own, engine, folder)
    assert full is not None
    yield full
    plain = _variant(PLAIN, PLAIN, (), engine, folder)
    assert plain is not None
    yield plain
    for rewrite in own:
        rest = [other for other in own if other is not rewrite]
        if (variant := _variant(rewrite.name, WITHOUT, rest, engine, folder)) is not None:
            yield variant
    if engine == onnxruntime.NAME:
        yield Variant(FUSION, WITHOUT, full.graph, full.logits, full.on_host, disabled=())
    known = {rewrite.name for rewrite in own}
    others = [*CANDIDATES, *(rewrite for rewrites in FOR_ENGINE.values() for rewrite in rewrites)]
    for rewrite in {other.name: other for other in others if other.name not in known}.values():
        order = (*PIPELINE, rewrite, *FOR_ENGINE[engine])
        if (variant := _variant(rewrite.name, WITH, order, engine, folder)) is not None:
            yield variant


def _variant(name: str, kind: str, order: Sequence[Pass], engine: str, folder: Path) -> Variant | None:
    """The plain graph rewritten; None where the engine cannot run that, or the pass `name` finds nothing."""
    base = folder / f"{engine}-{kind}-{name}".replace(" ", "-")
    path, logits = base.with_suffix(".onnx"), base.with_suffix(".logits.onnx")
    graph = passes.run(open_graph(folder / "plain.onnx"), order)
    rewritten = {result.name: len(result.rewritten) for result in graph.rewrites}
    foreign = any(node.domain not in ("", "ai.onnx") for node in graph.model.graph)
    if (kind == WITH and not rewritten[name]) or (foreign and engine != onnxruntime.NAME):
        return None
    graph.save(path)
    on_host = bool(rewritten.get(ClassMapOnHost.name))
    if not on_host:
        passes.run(graph, (ClassMapOnHost(),)).save(logits)
    return Variant(name, kind, path, path if on_host else logits, on_host)


def _apart(task: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def _differences(engine: str, variants: Sequence[Variant], image: UInt8) -> tuple[float, list[float]]:
    """The largest logit of the plain graph, and for each variant the largest difference from it."""
    found = [_logits(engine, variant, image) for variant in variants]
    plain = next(logits for logits, variant in zip(found, variants, strict=True) if variant.kind == PLAIN)
    return float(np.abs(plain).max()), [float(np.abs(logits - plain).max()) for logits in found]


def _logits(engine: str, variant: Variant, image: UInt8) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32]
    if engine == onnxruntime.NAME:
        found = onnxruntime.session(variant.logits, None, variant.disabled).run([LOGITS], {IMAGE: image})[0]
    else:
        found = np.array(openvino.compile_graph(variant.logits, None)({IMAGE: image})[LOGITS])
    return found


def _measure(
    engine: str,
    variants: Sequence[Variant],
    image: UInt8,
    contract: Contract,
    calls: int,
    threads: int | None,
    clock: Callable[[], float],
) -> list[list[float]]:
    """Seconds of every call of every variant: the network, and the class map where that is made behind it."""
    runners = [_open(engine, variant, contract, threads) for variant in variants]
    for runner in runners:
        for _ in range(WARMUP_CALLS):
            runner.run(image)
    seconds: list[list[float]] = [[] for _ in runners]
    order = np.random.default_rng(SEED)  # nobody always follows the same one
    for _ in range(calls):
        for index in order.permutation(len(runners)):
            time.sleep(SETTLE_SECONDS)
            began = clock()
            runners[index].execute()
            runners[index].fetch()
            seconds[index].append(clock() - began)
    return seconds


def _open(engine: str, variant: Variant, contract: Contract, threads: int | None) -> Runner:
    """As the engine itself opens a bundle."""
    if engine == onnxruntime.NAME:
        session = onnxruntime.session(variant.graph, threads, variant.disabled)
        return onnxruntime.OnnxRuntimeRunner(session, contract, variant.on_host, threads)
    compiled = openvino.compile_graph(variant.graph, threads)
    return openvino.OpenVinoRunner(compiled, contract, variant.on_host, threads)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
