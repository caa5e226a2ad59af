"""Which layer does it: bundles beside one in fp32 at named points of the network, on the same images.

Each runs on its own engine, in this process, with the points as further outputs (`segexport.bench.probe`). Images are
read one at a time and only sums are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segexport.bench import same_weights, unique_name
from segexport.bench.changes import Changes
from segexport.bench.explanation import Explained, Explanation
from segexport.bench.noise import RunningNoise, verdict
from segexport.bench.points import Point
from segexport.bench.probe import PROBED, ProbeRunner, open_probe
from segexport.bundle import Bundle, open_bundle
from segexport.datasets import LabelledImages, Sample, open_data
from segexport.decision import Decision
from segexport.errors import ContractError
from segexport.segmenter import Segmenter
from segexport.spec import Contract

_Held = dict[Point, npt.NDArray[np.float32]]


def explain(
    bundles: Sequence[str | Path | Bundle],
    data: str | Path | LabelledImages,
    *,
    baseline: str | Path | Bundle | None = None,
    limit: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanation:
    """Where in the network, on which images and in which classes bundles differ from one in fp32.

    Args:
        bundles: folders made by `segexport build`, all from the same weights and of one network size.
        data: as for `benchmark`. Without masks, or with random weights, nothing is said of IoU.
        baseline: what the others are held against: one of the bundles, or one more; the first in fp32 if None.
        limit: the first so many images.
        threads: CPU threads of every engine; each engine's own default if None.
        progress: told how many images are done, of how many.

    Raises:
        BundleCorrupt, ContractError, DataError, EngineUnavailable, OutputError: see `segexport.errors`.
    """
    opened, base = open_comparable(bundles, baseline)
    first = base.manifest
    classifier = first.contract.mask_size is None
    scored = not (classifier or first.source.random_weights)
    images = data
    if isinstance(images, str | Path):
        images = open_data(Path(images), first.labels, limit=limit, need_masks=scored)
    names: list[str] = []
    for bundle in opened:
        names.append(unique_name(bundle.name, names))
    reference = _Probed(names[opened.index(base)], *open_probe(base, threads))
    others = [
        _Beside(_Probed(name, *open_probe(bundle, threads)), reference, first.labels.names)
        for name, bundle in zip(names, opened, strict=True)
        if bundle is not base
    ]
    for index in range(len(images)):
        sample = images.sample(index)
        decision = reference.run(sample)
        held = reference.runner.held()
        for other in others:
            other.update(sample, decision, held, scored)
        progress(index + 1, len(images))
    return Explanation(reference.name, len(images), tuple(other.explained() for other in others))


def open_comparable(
    bundles: Sequence[str | Path | Bundle], baseline: str | Path | Bundle | None = None
) -> tuple[list[Bundle], Bundle]:
    """The bundles opened, and which of them is the baseline; one of none of their folders is put before them.

    Raises:
        BundleCorrupt: a folder that is no bundle.
        ContractError: fewer than two, none in fp32, or bundles that are not of the same weights and network size.
    """
    opened = [_open(bundle) for bundle in bundles]
    if baseline is not None:
        asked = _open(baseline)
        base = next((b for b in opened if b.folder.resolve() == asked.folder.resolve()), None)
        if base is None:
            opened, base = [asked, *opened], asked
    else:
        base = next((b for b in opened if b.manifest.precision == "fp32"), None)
    if len(opened) < 2:
        raise ContractError("there is nothing to compare: name two bundles or more, one of them in fp32")
    if base is None:
        raise ContractError("none of the bundles is in fp32, to compare with: name one built with --precision fp32 too")
    same_weights(opened)
    other = next((bundle for bundle in opened if bundle.manifest.engine.name not in PROBED), None)
    if other is not None:
        raise ContractError(
            f"{other.folder} is for {other.manifest.engine.name}, whose points cannot be put out: explain bundles for "
            f"{' or '.join(PROBED)}, in the same precisions"
        )
    for bundle in opened:
        if _network(bundle.manifest.contract) != _network(base.manifest.contract):
            raise ContractError(
                f"{base.folder} and {bundle.folder} are of different network sizes: compare bundles built with the "
                "same --size and --resize-mode"
            )
    return opened, base


def _open(bundle: str | Path | Bundle) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(bundle)


def _network(contract: Contract) -> tuple[object, ...]:
    """What must be the same for the network to see the same, but for how its image is resized."""
    return contract.size, contract.content_size, contract.content_offset


@dataclass(frozen=True)
class _Probed:
    """A bundle's name in the run, and its engine with points put out."""

    name: str
    net: Segmenter
    runner: ProbeRunner

    def run(self, sample: Sample) -> Decision:
        """The class map [H, W] in the image's size, or the best classes [k]."""
        return self.net.run(sample.image, channel_order="rgb").decision


class _Beside:
    """One bundle beside the baseline, and what has been counted so far."""

    def __init__(self, probed: _Probed, reference: _Probed, classes: Sequence[str]) -> None:
        self._probed = probed
        self._noises = {point: RunningNoise() for point in reference.runner.points if point in probed.runner.points}
        self._left_out = [p.name for p in reference.runner.points if p not in self._noises]
        self._changes = Changes(classes)
        self._baseline = reference.name

    def update(self, sample: Sample, decision: Decision, held: _Held, scored: bool) -> None:
        """Run one image, of which the baseline decided and held this."""
        found = self._probed.run(sample)
        ours = self._probed.runner.held()
        for point, noise in self._noises.items():
            if ours[point].shape != held[point].shape:
                raise ContractError(
                    f"{point.name} has shape {ours[point].shape} in {self._probed.name} and {held[point].shape} in "
                    f"{self._baseline}: build both with one version of segexport"
                )
            noise.update(held[point], ours[point])
        self._changes.update(sample.name, decision, found, sample.mask if scored else None)

    def explained(self) -> Explained:
        """What was found."""
        points = tuple(noise.found(point.name) for point, noise in self._noises.items())
        notes: tuple[str, ...] = ()
        if self._left_out:
            notes = (
                f"{', '.join(self._left_out)} left out: one of the two was built with --no-rewrites, and holds other "
                "numbers there",
            )
        return Explained(
            self._probed.name, points, verdict(points), self._changes.images(), self._changes.classes(), notes
        )
