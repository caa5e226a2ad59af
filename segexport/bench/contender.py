"""One contender of a benchmark in a process of its own.

Run as `python -m segexport.bench.contender FD`, with one end of a pipe. It opens one engine (or the PyTorch reference)
and then does nothing but answer: an image in, timings and a class map out. Being alone in its process gives it a
peak memory that is its own, and keeps its idle threads from spinning inside another contender's call.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from segexport import checkpoint, machine, weights
from segexport.bench.result import Timed
from segexport.bundle import open_bundle
from segexport.checkpoint import Checkpoint
from segexport.decision import decision
from segexport.engines import info
from segexport.engines.pytorch import open_checkpoint
from segexport.errors import CheckpointError, SegexportError
from segexport.images import UInt8
from segexport.segmenter import open_segmenter
from segexport.spec import Source, contract_from_json, from_json

Call = Callable[[UInt8], Timed]


def open_bundle_call(folder: str, threads: int | None) -> tuple[Call, dict[str, Any]]:
    """A bundle end to end: raw RGB pixels of any size to a class map of that size.

    The network's time is the engine's execution of the graph, in which pre- and post-processing are operators; on a GPU
    by its own clock, without the copies to and from it.
    """
    bundle = open_bundle(folder)
    net = open_segmenter(bundle, threads=threads)

    def call(rgb: UInt8) -> Timed:
        pixels = net.from_rgb(rgb)  # a camera delivers the contract's order: not timed
        start = time.perf_counter()
        net.runner.stage(net.prepare(pixels))
        staged = time.perf_counter()
        net.runner.execute()
        executed = time.perf_counter()
        prediction = net.finish(net.runner.fetch(), (rgb.shape[0], rgb.shape[1]))
        end = time.perf_counter()
        found = prediction.mask if prediction.mask is not None else prediction.classes
        assert found is not None
        network = net.runner.device_seconds
        return Timed(end - start, executed - staged if network is None else network, found)

    facts = bundle.manifest.engine
    return call, {
        "engine": facts.name,
        "version": info(facts.name).version,
        "size_bytes": bundle.size_bytes(),
    }


def open_reference_call(
    source: dict[str, Any], contract: dict[str, Any], override: str | None, threads: int | None
) -> tuple[Call, dict[str, Any]]:
    """The PyTorch reference as its users run it: image processor, model, post-processing to the image's size."""
    loaded = _reference_checkpoint(from_json(Source, source), override)
    files = weights.find(loaded.folder) if loaded.folder and not loaded.source.random_weights else []
    runner = open_checkpoint(loaded, contract_from_json(contract), own_size=True, threads=threads)

    def call(rgb: UInt8) -> Timed:
        start = time.perf_counter()
        runner.stage(rgb[None])
        staged = time.perf_counter()
        runner.execute()
        executed = time.perf_counter()
        outputs = runner.fetch()
        end = time.perf_counter()
        return Timed(end - start, executed - staged, decision(outputs))

    return call, {
        "engine": "pytorch",
        "version": info("pytorch").version,
        "size_bytes": sum(f.stat().st_size for f in files),
    }


def _reference_checkpoint(source: Source, override: str | None) -> Checkpoint:
    try:
        return checkpoint.load_source(source, override)
    except CheckpointError as error:
        raise CheckpointError(
            f"the bundles' checkpoint cannot be had ({error}); pass --reference CHECKPOINT, or --no-reference to leave "
            "PyTorch out"
        ) from error


def serve(connection: Connection[Any, Any]) -> None:
    """Open what the first message names, then answer images until told to stop."""
    request: dict[str, Any] = connection.recv()
    opener = open_bundle_call if request.pop("kind") == "bundle" else open_reference_call
    try:
        call, facts = opener(**request)
    except SegexportError as error:
        connection.send((type(error).__name__, str(error)))
        return
    connection.send(facts)
    while (message := connection.recv()) is not None:
        try:
            connection.send(call(message))
        except SegexportError as error:
            connection.send((type(error).__name__, str(error)))
    connection.send(machine.peak_memory_bytes())


def main() -> None:
    """Serve the benchmark that started this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the benchmark's to handle
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with connection, contextlib.suppress(EOFError):  # the benchmark has gone: nothing left to answer
        serve(connection)


if __name__ == "__main__":
    main()
