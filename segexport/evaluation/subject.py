"""What is evaluated: a checkpoint on PyTorch or a bundle on its engine, behind one surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from segexport import checkpoint, engines
from segexport.bundle import MANIFEST, SUMS, Bundle, open_bundle
from segexport.checkpoint import Checkpoint
from segexport.decision import decision
from segexport.engines.pytorch import open_checkpoint
from segexport.errors import CheckpointError, ContractError
from segexport.evaluation.network import EngineNetwork, Network, PyTorchNetwork
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.upsample import Floats32
from segexport.evaluation.views import segment
from segexport.evaluation.windows import padding_colour, slide
from segexport.files import sha256_of
from segexport.images import UInt8
from segexport.segmenter import Segmenter
from segexport.spec import Contract, Labels, Preprocessing, Source, format_size


class Subject:
    """A network and a protocol, ready for images. A context manager, for one thread at a time.

    Attributes:
        labels: class names, colours, and whether data sets count from 1: a checkpoint's and its bundle's are equal.
        protocol: as asked for, with the network's size filled in where images are shown whole.
        facts: as JSON: `name`, `kind` (`pytorch` or `bundle`), `engine`, `version`, `precision`, `weights_sha256`,
            `sha256` (of the weights, or of a bundle's SHA256SUMS), `random_weights`, `size` ([height, width] of the
            network's input; None where it follows the image), `protocol` (in words).
        source: where the weights came from.
        reference: a bundle's source checkpoint, to be opened with `reference_source=subject.source`; None for PyTorch.
    """

    def __init__(
        self,
        segment: Callable[[UInt8], UInt8],
        *,
        labels: Labels,
        protocol: Protocol,
        facts: dict[str, Any],
        source: Source,
        reference: str | None,
        close: Callable[[], None],
    ) -> None:
        self.labels = labels
        self.protocol = protocol
        self.facts = facts
        self.source = source
        self.reference = reference
        self._segment = segment
        self._close = close

    def segment(self, rgb: UInt8) -> UInt8:
        """Class ids, uint8 [H, W], of one image, uint8 [H, W, 3] RGB, in the image's own size; ties to the lowest."""
        return self._segment(rgb)

    def close(self) -> None:
        """Free the engine."""
        self._close()

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_subject(
    name: str | Path,
    protocol: Protocol,
    *,
    threads: int | None = None,
    device: str | None = None,
    reference_source: Source | None = None,
) -> Subject:
    """Open a bundle's folder on its engine, or anything `checkpoint.load` takes on PyTorch.

    A bundle's PyTorch reference: `open_subject(bundle.reference, bundle.protocol, reference_source=bundle.source)`.

    Args:
        name: a bundle's folder, a checkpoint's, a hub id or an alias.
        protocol: how images are shown.
        threads: CPU threads; the engine's own default if None.
        device: of a bundle's engine.
        reference_source: the source of the bundle that this checkpoint is the reference of: its revision, and random
            weights where the bundle has them; other weights are an error.

    Raises:
        BundleCorrupt, CheckpointError, EngineMismatch, EngineUnavailable: it cannot be opened.
        ContractError: a classifier, or a bundle that cannot serve the protocol; names what to build instead.
    """
    if (Path(name) / MANIFEST).is_file():
        if reference_source is not None:
            raise CheckpointError(f"{name} is a bundle, not the checkpoint to compare one with: pass the checkpoint")
        return _of_bundle(open_bundle(name), protocol, threads, device)
    return _of_checkpoint(_load(name, reference_source), protocol, threads)


def _of_checkpoint(loaded: Checkpoint, protocol: Protocol, threads: int | None) -> Subject:
    if loaded.architecture == "image-classification":
        raise ContractError(
            f"{loaded.source.id} is an image classifier, which has no class maps to evaluate: pass a checkpoint of "
            "SegformerForSemanticSegmentation, or compare classifiers with segexport bench"
        )
    if protocol.window is None and protocol.short_side is None:
        protocol = dataclasses.replace(protocol, size=protocol.size or loaded.default_size)
    size = protocol.window or protocol.size
    contract = Contract(size or loaded.default_size, mask_size=size or loaded.default_size)
    runner = open_checkpoint(loaded, contract, own_size=True, threads=threads)
    network = PyTorchNetwork(runner)

    def plain(rgb: UInt8) -> UInt8:
        found: UInt8 = decision(runner.run(rgb[None]))
        return found

    return Subject(
        plain if protocol.plain else _by_views(network, protocol, loaded.preprocessing),
        labels=loaded.labels,
        protocol=protocol,
        facts={
            "name": loaded.source.id if loaded.folder is None else loaded.folder.name,
            "kind": "pytorch",
            "engine": "pytorch",
            "version": engines.info("pytorch").version,
            "precision": "fp32",
            "weights_sha256": loaded.source.weights_sha256,
            "sha256": loaded.source.weights_sha256,
            "random_weights": loaded.source.random_weights,
            "size": None if size is None else list(size),
            "protocol": str(protocol),
        },
        source=loaded.source,
        reference=None,
        close=runner.close,
    )


def _of_bundle(bundle: Bundle, protocol: Protocol, threads: int | None, device: str | None) -> Subject:
    manifest = bundle.manifest
    _require_served(bundle, protocol)
    if protocol.window is None:
        protocol = dataclasses.replace(protocol, size=manifest.contract.size)
    runner = engines.open_runner(bundle, threads=threads, device=device)
    segmenter = Segmenter(bundle, runner)

    def plain(rgb: UInt8) -> UInt8:
        return segmenter.run(rgb, channel_order="rgb").mask

    network = EngineNetwork(runner)
    # The graph takes views of its image size, which it may resize to the network's.
    shown = protocol if protocol.window else dataclasses.replace(protocol, size=manifest.contract.image_size)
    return Subject(
        plain if protocol.plain else _by_views(network, shown, manifest.preprocessing),
        labels=manifest.labels,
        protocol=protocol,
        facts={
            "name": bundle.name,
            "kind": "bundle",
            "engine": manifest.engine.name,
            "version": engines.info(manifest.engine.name).version,
            "precision": manifest.precision,
            "weights_sha256": manifest.source.weights_sha256,
            "sha256": sha256_of(bundle.folder / SUMS),
            "random_weights": manifest.source.random_weights,
            "size": list(manifest.contract.size),
            "protocol": str(protocol),
        },
        source=manifest.source,
        reference=manifest.source.id,
        close=segmenter.close,
    )


def _load(name: str | Path, source: Source | None) -> Checkpoint:
    return checkpoint.load(name) if source is None else checkpoint.load_source(source, name)


def _require_served(bundle: Bundle, protocol: Protocol) -> None:
    """Refuse what a bundle of one size, and of one output, cannot do.

    Raises:
        ContractError: names the build that can.
    """
    contract = bundle.manifest.contract
    if contract.mask_size is None:
        raise ContractError(
            f"{bundle.folder} is an image classifier, which has no class maps to evaluate: compare classifiers with "
            "segexport bench"
        )
    if protocol.window is not None:
        _require_window(bundle, protocol.window)
        return
    if protocol.short_side is not None or protocol.scales != (1.0,):
        what = "a short side needs" if protocol.short_side is not None else "scales other than 1 need"
        raise ContractError(
            f"{bundle.folder} takes images of {format_size(contract.image_size)} only: {what} windows of that "
            f"size (--window {format_size(contract.size)}), or the checkpoint on PyTorch"
        )
    if protocol.size not in (None, contract.size):
        assert protocol.size is not None
        raise ContractError(
            f"{bundle.folder} was built for {format_size(contract.size)} and cannot be evaluated at "
            f"{format_size(protocol.size)}: leave the size out, or build one with --size {format_size(protocol.size)}"
        )
    if protocol.flip and contract.output != "logits":
        raise ContractError(_no_logits(bundle, "averaging views", format_size(contract.size)))


def _require_window(bundle: Bundle, window: tuple[int, int]) -> None:
    contract = bundle.manifest.contract
    if contract.output != "logits":
        raise ContractError(_no_logits(bundle, "windows", format_size(window)))
    if contract.image_size != window or contract.size != window:
        raise ContractError(
            f"{bundle.folder} takes images of {format_size(contract.image_size)}, the window is {format_size(window)}: "
            f"pass --window {format_size(contract.size)}, or build one with {_build(bundle, format_size(window))}"
        )


def _no_logits(bundle: Bundle, what: str, size: str) -> str:
    return (
        f"{bundle.folder} gives {bundle.manifest.contract.output}, and {what} need logits: build one with "
        f"{_build(bundle, size)}"
    )


def _build(bundle: Bundle, size: str) -> str:
    manifest = bundle.manifest
    return (
        f"segexport build --model {manifest.source.id} --out DIR --engine {manifest.engine.name} --precision "
        f"{manifest.precision} --size {size} --output logits --mask-size network"
        + (" --calibration FOLDER" if manifest.precision == "int8" else "")
    )


def _by_views(network: Network, protocol: Protocol, preprocessing: Preprocessing) -> Callable[[UInt8], UInt8]:
    colour = padding_colour(preprocessing)

    def logits(view: UInt8) -> Floats32:
        if protocol.window is None:
            found: Floats32 = network.logits(view[None])[0]
            return found
        assert protocol.steps is not None
        return slide(network, view, protocol.window, protocol.steps, colour)

    return lambda rgb: segment(logits, rgb, protocol, preprocessing.resample)
