"""One contender of a benchmark in a process of its own.

Run as `python -m segexport.bench.contender FD`, with one end of a pipe. It opens one engine (or the PyTorch reference)
and then does nothing but answer: an image in, timings and a class map out. Being alone in its process gives it a
peak memory that is its own, and keeps its idle threads from spinning inside another contender's call.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from segexport import checkpoint, memory, weights
from segexport.bench.messages import Load, Timed
from segexport.bench.throughput import images_per_second
from segexport.bundle import Bundle, open_bundle
from segexport.checkpoint import Checkpoint
from segexport.decision import Decision, decision
from segexport.engines import info, open_runner
from segexport.engines.base import Outputs, Runner, in_order
from segexport.engines.pytorch import open_checkpoint
from segexport.errors import CheckpointError, SegexportError
from segexport.images import UInt8, resize_image, resize_nearest
from segexport.spec import Source, contract_from_json, from_json

Call = Callable[[UInt8], Timed]


class Opened(NamedTuple):
    """How to call a contender with an image, facts about it, and how to open what one more caller calls."""

    call: Call
    facts: dict[str, Any]
    open_caller: Callable[[int], Call]
    """Given a number of CPU threads, in the thread that will call it."""


def open_bundle_call(folder: str, threads: int | None, batch: int | None = None) -> Opened:
    """A bundle end to end: raw RGB pixels of any size to a class map of that size.

    The network's time is the engine's execution of the graph, in which pre- and post-processing are operators; on a GPU
    by its own clock, without the copies to and from it.

    Args:
        folder: the bundle's.
        threads: CPU threads; the engine's own default if None.
        batch: images in a call: the same one, resized as often as so many different ones would be. The bundle's own
            number if None, and 1 where that is open.
    """
    bundle = open_bundle(folder)
    images = batch or max(1, bundle.manifest.contract.batch)

    def open_caller(threads: int | None) -> Call:
        return _bundle_call(bundle, open_runner(bundle, threads=threads), images)

    facts = bundle.manifest.engine
    return Opened(
        open_caller(threads),
        {"engine": facts.name, "version": info(facts.name).version, "size_bytes": bundle.size_bytes()},
        open_caller,
    )


def _bundle_call(bundle: Bundle, runner: Runner, batch: int) -> Call:
    contract, resample = bundle.manifest.contract, bundle.manifest.preprocessing.resample

    def prepare(pixels: UInt8) -> UInt8:
        resized = [resize_image(pixels, contract.image_size, resample) for _ in range(batch)]
        return resized[0][None] if batch == 1 else np.stack(resized)

    def finish(outputs: Outputs, rgb: UInt8) -> Decision:
        for _ in range(batch):
            found = decision(outputs)
            if found.ndim == 2:
                found = resize_nearest(found, (rgb.shape[0], rgb.shape[1]))
        return found

    def call(rgb: UInt8) -> Timed:
        pixels = in_order(rgb, contract)  # a camera delivers the contract's order: not timed
        return _timed(runner, lambda: prepare(pixels), lambda outputs: finish(outputs, rgb))

    return call


def open_reference_call(
    source: dict[str, Any], contract: dict[str, Any], override: str | None, threads: int | None, batch: int = 1
) -> Opened:
    """The PyTorch reference as its users run it: image processor, model, post-processing to the image's size."""
    loaded = _reference_checkpoint(from_json(Source, source), override)
    files = weights.find(loaded.folder) if loaded.folder and not loaded.source.random_weights else []
    runner = open_checkpoint(loaded, contract_from_json(contract), own_size=True, threads=threads)

    def call_of(runner: Runner) -> Call:
        return lambda rgb: _timed(runner, lambda: np.repeat(rgb[None], batch, axis=0), decision)

    return Opened(
        call_of(runner),
        {
            "engine": "pytorch",
            "version": info("pytorch").version,
            "size_bytes": sum(f.stat().st_size for f in files),
        },
        lambda threads: call_of(runner.another(threads)),
    )


def _timed(runner: Runner, prepare: Callable[[], UInt8], finish: Callable[[Outputs], Decision]) -> Timed:
    start = time.perf_counter()
    runner.stage(prepare())
    staged = time.perf_counter()
    runner.execute()
    executed = time.perf_counter()
    found = finish(runner.fetch())
    end = time.perf_counter()
    network = executed - staged if runner.device_seconds is None else runner.device_seconds
    return Timed(end - start, network, found, memory.peak_memory_bytes())


def _reference_checkpoint(source: Source, override: str | None) -> Checkpoint:
    try:
        return checkpoint.load_source(source, override)
    except CheckpointError as error:
        raise CheckpointError(f"the bundles' checkpoint cannot be had ({error})") from error


def serve(connection: Connection[Any, Any]) -> None:
    """Open what the first message names, then answer images and loads until the other side is closed."""
    request: dict[str, Any] = connection.recv()
    opener = open_bundle_call if request.pop("kind") == "bundle" else open_reference_call
    try:
        opened = opener(**request)
    except SegexportError as error:
        connection.send(_said(error))
        return
    connection.send(opened.facts)
    while True:
        message = connection.recv()
        try:
            loaded = isinstance(message, Load)
            connection.send(images_per_second(opened.open_caller, message) if loaded else opened.call(message))
        except SegexportError as error:
            connection.send(_said(error))


def _said(error: SegexportError) -> tuple[str, str]:
    return type(error).__name__, str(error)


def main() -> None:
    """Serve the benchmark that started this process."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with connection, contextlib.suppress(EOFError, ConnectionError):  # the benchmark has gone: nothing left to answer
        serve(connection)


if __name__ == "__main__":
    main()
