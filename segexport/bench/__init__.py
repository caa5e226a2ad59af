"""Bundles and the PyTorch reference on the same images, in one run: the only stage that reads a clock.

Every contender is a process of its own (`segexport.bench.contender`). Their timed calls are interleaved, image by
image and in rotating order, so that a noisy moment of the machine hits all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segexport import machine
from segexport.bench.process import ContenderProcess
from segexport.bench.result import Result, Row, percentiles
from segexport.bench.verdict import verdict
from segexport.bundle import Bundle, Manifest, open_bundle
from segexport.errors import ContractError
from segexport.evaluate.datasets import LabelledImages, Sample, open_data
from segexport.evaluate.metrics import Agreement, ConfusionMatrix
from segexport.spec import Size, format_size, to_json

__all__ = ["Result", "Row", "benchmark"]

WARMUP_CALLS = 3
MIN_CALLS = 20
"""Timed calls of each contender: with fewer images than this, the images go round again."""

SETTLE_SECONDS = 0.01
"""Pause before a timed call: the last contender's worker threads spin for a while after theirs."""

Progress = Callable[[int, int], None]
"""Called with calls done and calls to do."""


@dataclass
class _Contender:
    """A contender's process, what it is compared with, and what it has done so far."""

    name: str
    precision: str
    size: Size
    image_size: Size
    """What it is given without a resize by Pillow: the network's size, or the one its graph resizes from."""
    process: ContenderProcess
    confusion: ConfusionMatrix
    reference: str | None = None
    batch: int = 1
    notes: list[str] = field(default_factory=list)
    resized: set[Size] = field(default_factory=set)
    """Sizes of images that were not `image_size`."""
    facts: dict[str, Any] = field(default_factory=dict)
    whole: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)
    peak_memory: int = 0


def benchmark(
    bundles: Sequence[str | Path | Bundle],
    data: str | Path,
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
        data: a folder with `images/` and `masks/`, or a Hugging Face data set saved to disk. Classifiers and random
            weights need no masks.
        reference: the checkpoint, where it is no longer what the bundles name as their source.
        use_reference: False leaves PyTorch out, and needs neither torch nor the checkpoint.
        limit: the first so many images.
        threads: CPU threads of every contender; each engine's own default if None.
        progress: told how many calls are done.

    Raises:
        BundleCorrupt, CheckpointError, ContractError, DataError, EngineUnavailable: see `segexport.errors`.
    """
    opened = [b if isinstance(b, Bundle) else open_bundle(b) for b in bundles]
    first = _same_weights(opened)
    classifier = first.contract.mask_size is None
    need_masks = not (classifier or first.source.random_weights)
    images = open_data(Path(data), first.labels, limit=limit, need_masks=need_masks)
    with ExitStack() as stack:
        contenders = _start(stack, opened, reference if use_reference else None, use_reference, threads)
        for contender in contenders:
            contender.facts = contender.process.opened()
        _warm_up(contenders, images)
        _measure(contenders, images, progress)
        for contender in contenders:
            contender.peak_memory = contender.process.stop()
    rows = tuple(_row(c, contenders, first) for c in contenders)
    conditions = {"path": str(data), "images": len(images), "sha256": images.sha256()}
    return Result(
        machine={**machine.describe(), "threads": threads or "each engine's default"},
        data=conditions,
        reference=(reference or first.source.id) if use_reference else None,
        random_weights=first.source.random_weights,
        rows=rows,
    )


def _same_weights(bundles: Sequence[Bundle]) -> Manifest:
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
) -> list[_Contender]:
    """Start a process for each bundle, and one of PyTorch for each network size among them."""
    contenders: list[_Contender] = []
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
        contenders.append(_Contender(references[size], "fp32", size, size, process, ConfusionMatrix(classes)))
    for bundle in bundles:
        request = {"kind": "bundle", "folder": str(bundle.folder), "threads": threads}
        process = stack.enter_context(ContenderProcess(request))
        contract = bundle.manifest.contract
        contender = _Contender(
            _unique(bundle.name, contenders),
            bundle.manifest.precision,
            contract.size,
            contract.image_size,
            process,
            ConfusionMatrix(classes),
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
        contenders.append(contender)
    return contenders


def _unique(name: str, contenders: Sequence[_Contender]) -> str:
    taken = {c.name for c in contenders}
    return name if name not in taken else next(n for i in range(2, 999) if (n := f"{name} ({i})") not in taken)


def _warm_up(contenders: Sequence[_Contender], images: LabelledImages) -> None:
    image = images.sample(0).image
    for contender in contenders:
        for _ in range(WARMUP_CALLS):
            contender.process.call(image)


def _measure(contenders: Sequence[_Contender], images: LabelledImages, progress: Progress) -> None:
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
            _score(contenders, decisions, sample)
        progress(index + 1, calls)


def _score(contenders: Sequence[_Contender], decisions: dict[str, Any], sample: Sample) -> None:
    size = (sample.image.shape[0], sample.image.shape[1])
    for contender in contenders:
        found = decisions[contender.name]
        if sample.mask is not None and found.ndim == 2:
            contender.confusion.update(sample.mask, found)
        if contender.reference is not None:
            reference = decisions[contender.reference]
            # Of classes, the best one counts; of class maps, every pixel.
            best = slice(0, 1) if found.ndim == 1 else slice(None)
            contender.agreement.update(found[best], reference[best])
        if size != contender.image_size:
            contender.resized.add(size)


def _row(contender: _Contender, contenders: Sequence[_Contender], first: Manifest) -> Row:
    reference = next((c for c in contenders if c.name == contender.reference), None)
    random_weights = first.source.random_weights
    scored = bool(contender.confusion.counts.sum()) and not random_weights
    miou = contender.confusion.miou() if scored else None
    iou = contender.confusion.iou() if scored else None
    agreement = contender.agreement.share() if reference else None
    miou_change = None if miou is None or reference is None else miou - reference.confusion.miou()
    speedup = float(np.median(reference.whole) / np.median(contender.whole)) if reference else None
    is_reference = contender.facts["engine"] == "pytorch"
    classifier = first.contract.mask_size is None
    return Row(
        name=contender.name,
        engine=contender.facts["engine"],
        version=contender.facts["version"],
        precision=contender.precision,
        size=contender.size,
        latency_ms=percentiles(contender.whole),
        network_ms=percentiles(contender.network),
        throughput_ips=contender.batch * len(contender.whole) / sum(contender.whole),
        miou=miou,
        pixel_accuracy=contender.confusion.pixel_accuracy() if scored else None,
        per_class_iou=None if iou is None else {n: float(v) for n, v in zip(first.labels.names, iou, strict=True)},
        agreement=agreement,
        size_bytes=contender.facts["size_bytes"],
        peak_memory_bytes=contender.peak_memory,
        verdict="the reference"
        if is_reference
        else verdict(
            speedup=speedup,
            miou_change=miou_change,
            agreement=agreement,
            random_weights=random_weights,
            what="images" if classifier else "pixels",
        ),
        notes=(*contender.notes, *_resizing(contender, not (is_reference or classifier))),
    )


def _resizing(contender: _Contender, nearest_behind: bool) -> tuple[str, ...]:
    if not contender.resized:
        return ()
    count = len(contender.resized)
    what = f"images of {format_size(next(iter(contender.resized)))}" if count == 1 else f"images of {count} sizes"
    behind = ", their class maps by nearest neighbour" if nearest_behind else ""
    return (f"{what} resized by Pillow to {format_size(contender.image_size)}{behind}",)
