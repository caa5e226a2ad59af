"""Bundles and the PyTorch reference on the same images, in one run: the only stage that reads a clock.

Every contender is a process of its own (`segexport.bench.contender`). Their timed calls are interleaved, image by
image and in rotating order, so that a noisy moment of the machine hits all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from segexport import machine
from segexport.bench.process import ContenderProcess
from segexport.bench.result import Result, Row
from segexport.bench.scoring import Contender, rows, score
from segexport.bundle import Bundle, Manifest, open_bundle
from segexport.datasets import LabelledImages, open_data
from segexport.errors import ContractError
from segexport.evaluation.bootstrap import ImageCounts
from segexport.precision.emulate import FP16_EMULATED
from segexport.spec import Size, format_size, to_json

__all__ = ["Result", "Row", "benchmark"]

WARMUP_CALLS = 3
MIN_CALLS = 20
"""Timed calls of each contender: with fewer images than this, the images go round again."""

SETTLE_SECONDS = 0.01
"""Pause before a timed call: the last contender's worker threads spin for a while after theirs."""

Progress = Callable[[int, int], None]
"""Called with calls done and calls to do."""


def benchmark(
    bundles: Sequence[str | Path | Bundle],
    data: str | Path | LabelledImages,
    *,
    reference: str | None = None,
    use_reference: bool = True,
    limit: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Latency, memory, mIoU and agreement of bundles beside the PyTorch reference, all in one run.

    Args:
        bundles: folders made by `segexport build`, all from the same weights.
        data: a folder with `images/` and `masks/`, a Hugging Face data set saved to disk, or images already opened.
            Classifiers and random weights need no masks.
        reference: the checkpoint, where it is no longer what the bundles name as their source.
        use_reference: False leaves PyTorch out, and needs neither torch nor the checkpoint.
        limit: the first so many images.
        threads: CPU threads of every contender; each engine's own default if None.
        progress: told how many calls are done.

    Raises:
        BundleCorrupt, CheckpointError, ContractError, DataError, EngineUnavailable: see `segexport.errors`.
    """
    opened = [b if isinstance(b, Bundle) else open_bundle(b) for b in bundles]
    first = same_weights(opened)
    classifier = first.contract.mask_size is None
    need_masks = not (classifier or first.source.random_weights)
    if isinstance(data, str | Path):
        data = open_data(Path(data), first.labels, limit=limit, need_masks=need_masks)
    with ExitStack() as stack:
        contenders = _start(stack, opened, reference if use_reference else None, use_reference, threads)
        for contender in contenders:
            contender.facts = contender.process.opened()
        _warm_up(contenders, data)
        _measure(contenders, data, progress)
        for contender in contenders:
            contender.peak_memory = contender.process.stop()
    conditions = {"path": data.name, "images": len(data), "sha256": data.sha256()}
    return Result(
        machine={**machine.describe(), "threads": threads or "each engine's default"},
        data=conditions,
        reference=(reference or first.source.id) if use_reference else None,
        random_weights=first.source.random_weights,
        rows=rows(contenders, first),
    )


def same_weights(bundles: Sequence[Bundle]) -> Manifest:
    """The first bundle's manifest, whose weights all have.

    Raises:
        ContractError: no bundle, or bundles from different weights.
    """
    if not bundles:
        raise ContractError("nothing to benchmark: name at least one bundle")
    first = bundles[0].manifest
    for bundle in bundles[1:]:
        if bundle.manifest.source.weights_sha256 != first.source.weights_sha256:
            raise ContractError(
                f"{bundles[0].folder} and {bundle.folder} were built from different weights: benchmark them in two runs"
            )
    return first


def _start(
    stack: ExitStack,
    bundles: Sequence[Bundle],
    override: str | None,
    use_reference: bool,
    threads: int | None,
) -> list[Contender]:
    """Start a process for each bundle, and one of PyTorch for each network size among them."""
    contenders: list[Contender] = []
    sizes = dict.fromkeys(b.manifest.contract.size for b in bundles)
    references: dict[Size, str] = {}
    classes = len(bundles[0].manifest.labels)
    for size in sizes if use_reference else ():
        manifest = next(b.manifest for b in bundles if b.manifest.contract.size == size)
        request = {
            "kind": "reference",
            "source": to_json(manifest.source),
            "contract": to_json(manifest.contract),
            "override": override,
            "threads": threads,
        }
        references[size] = "pytorch" if len(sizes) == 1 else f"pytorch {format_size(size)}"
        process = stack.enter_context(ContenderProcess(request))
        contenders.append(Contender(references[size], "fp32", size, size, process, ImageCounts(classes)))
    for bundle in bundles:
        request = {"kind": "bundle", "folder": str(bundle.folder), "threads": threads}
        process = stack.enter_context(ContenderProcess(request))
        contract = bundle.manifest.contract
        contender = Contender(
            unique_name(bundle.name, [c.name for c in contenders]),
            bundle.manifest.precision,
            contract.size,
            contract.image_size,
            process,
            ImageCounts(classes),
            reference=references.get(contract.size),
            batch=max(1, contract.batch),
        )
        if contender.batch > 1:
            contender.notes.append(f"a call is a batch of {contender.batch}: the same image, repeated")
        if contract.content_size != contract.size and contender.reference is not None:
            contender.notes.append(f"{contender.reference} stretches the images, this bundle letterboxes them")
        if contract.mask_size not in (None, contract.image_size):
            assert contract.mask_size is not None
            contender.notes.append(f"class maps of {format_size(contract.mask_size)}, enlarged by nearest neighbour")
        contender.notes += _of_precision(bundle)
        contenders.append(contender)
    return contenders


def _of_precision(bundle: Bundle) -> list[str]:
    """What has to be known about a precision to read its row."""
    facts = bundle.manifest.engine
    if bundle.manifest.precision == "fp16" and facts.derived:
        return [FP16_EMULATED]
    if bundle.manifest.precision == "int8" and facts.device == "CPU" and not machine.int8_instructions():
        return ["this CPU has no instructions for INT8 products (VNNI, AMX), so that they take about as long as FP32's"]
    return []


def unique_name(name: str, taken: Sequence[str]) -> str:
    """`name`, with a number behind it where it is taken already."""
    return name if name not in taken else next(n for i in range(2, 999) if (n := f"{name} ({i})") not in taken)


def _warm_up(contenders: Sequence[Contender], images: LabelledImages) -> None:
    image = images.sample(0).image
    for contender in contenders:
        for _ in range(WARMUP_CALLS):
            contender.process.call(image)


def _measure(contenders: Sequence[Contender], images: LabelledImages, progress: Progress) -> None:
    """Every contender on every image, and round again until there are calls enough; scores count once an image."""
    count = len(images)
    calls = max(count, MIN_CALLS)
    for index in range(calls):
        sample = images.sample(index % count)
        shift = index % len(contenders)
        order = [*contenders[shift:], *contenders[:shift]]
        decisions = {}
        for contender in order:
            time.sleep(SETTLE_SECONDS)
            timed = contender.process.call(sample.image)
            contender.whole.append(timed.whole)
            contender.network.append(timed.network)
            decisions[contender.name] = timed.decision
        if index < count:
            score(contenders, decisions, sample)
        progress(index + 1, calls)
