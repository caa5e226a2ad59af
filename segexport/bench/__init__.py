"""Bundles and the PyTorch reference on the same images, in one run: the only stage that reads a clock.

Every contender is a process of its own (`segexport.bench.contender`). Their timed calls are interleaved, image by
image and in rotating order, so that a noisy moment of the machine hits all alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from segexport import machine
from segexport.bench import busy
from segexport.bench.here import why_not
from segexport.bench.images import open_images
from segexport.bench.interrupts import Interrupts
from segexport.bench.measure import SETTLE_SECONDS, Progress, Run
from segexport.bench.result import Result, Row
from segexport.bench.scoring import rows
from segexport.bench.start import Asked, batches, same_weights, start, unique_name
from segexport.bundle import Bundle, open_bundle
from segexport.datasets import LabelledImages
from segexport.errors import ContractError

__all__ = ["SETTLE_SECONDS", "Result", "Row", "benchmark", "same_weights", "unique_name", "why_not"]


def benchmark(
    bundles: Sequence[str | Path | Bundle],
    data: str | Path | LabelledImages | None = None,
    *,
    reference: str | None = None,
    use_reference: bool | None = None,
    limit: int | None = None,
    threads: int | None = None,
    concurrency: int = 1,
    batch: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Latency, throughput, memory, mIoU and agreement of bundles beside the PyTorch reference, all in one run.

    Ctrl-C ends the run: the result is then `interrupted`, and has what was measured until then. Where no call had been
    timed, KeyboardInterrupt goes on.

    Args:
        bundles: folders made by `segexport build`, all from the same weights. A bundle that is already opened gives its
            row the `name` it has.
        data: a data set in any layout of docs/data.md, a folder of images, or images already opened; without masks
            there is no mIoU. Generated scenes if None.
        reference: the checkpoint, where it is no longer what the bundles name as their source.
        use_reference: True makes it an error if PyTorch cannot take part, as `reference` does; False leaves it out, and
            needs neither torch nor the checkpoint; None takes it where it can be had. Without PyTorch, agreement is
            with the first bundle in fp32 of the same network size.
        limit: the first so many images.
        threads: CPU threads of every contender; each engine's own default if None.
        concurrency: callers at once, with which throughput is measured after the latency: each with a runner of its own
            and its share of the threads (of all the machine's cores if `threads` is None); PyTorch's share one model.
        batch: images of a call, of bundles whose batch is open, and of PyTorch where all bundles have as many; 1 if
            None. A bundle of a fixed batch is called with that.
        progress: told how many calls are done.

    Raises:
        BundleCorrupt, CheckpointError, ContractError, DataError, EngineUnavailable: see `segexport.errors`.
    """
    opened = [b if isinstance(b, Bundle) else open_bundle(b) for b in bundles]
    first = same_weights(opened)
    if concurrency < 1:
        raise ContractError(f"{concurrency} callers at once cannot be: give a --concurrency of 1 or more")
    batches(opened, batch)  # refused before any image is looked at
    largest = max((bundle.manifest for bundle in opened), key=lambda facts: math.prod(facts.contract.image_size))
    images, of_images = open_images(data, largest, limit)
    interrupted = False
    with Interrupts() as interrupts, ExitStack() as stack:
        asked = Asked(reference, use_reference, threads, batch)
        contenders, without_pytorch = start(stack, opened, asked, interrupts.check)
        run = Run(contenders, images, progress=progress, check=interrupts.check)
        try:
            run.measure(concurrency, threads)
        except KeyboardInterrupt:
            for contender in contenders:
                contender.process.end()
            if interrupts.twice or not any(contender.whole for contender in contenders):
                raise
            interrupted = True
    has_pytorch = any(contender.is_reference for contender in contenders)
    doubt = busy.doubt(run.others)
    found = rows(contenders, first, concurrency=concurrency, busy=doubt)
    cut_short = f"interrupted after {run.calls} timed calls: the figures are of those alone" if interrupted else ""
    return Result(
        machine={**machine.describe(), "threads": threads or "each engine's default", "others_share": run.others},
        data={"path": images.name, "images": run.images, "sha256": images.sha256()},
        reference=(reference or first.source.id) if has_pytorch else None,
        random_weights=first.source.random_weights,
        rows=found,
        concurrency=concurrency,
        notes=tuple(filter(None, (of_images, without_pytorch, _agreement(found), cut_short))),
        doubts=(doubt,) if doubt else (),
        interrupted=interrupted,
    )


def _agreement(found: Sequence[Row]) -> str:
    """What agreement is with, where that is not PyTorch."""
    references = {row.name for row in found if row.is_reference}
    names = dict.fromkeys(row.agreement_with for row in found if row.agreement_with not in (None, *references))
    return f"agreement is with {' and '.join(map(str, names))}, in fp32" if names else ""
