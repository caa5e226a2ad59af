"""Every tensor of a SegFormer, by its name on disk, and its shape."""

from __future__ import annotations

from collections.abc import Iterator

from segexport.segformer import names
from segexport.segformer.structure import Structure

Shape = tuple[int, ...]


def parameters(structure: Structure) -> dict[str, Shape]:
    """Names on disk and shapes of all weights and of BatchNorm's statistics, in the network's order."""
    return {names.disk_name(name): shape for name, shape in (*_encoder(structure), *_head(structure))}


def _encoder(structure: Structure) -> Iterator[tuple[str, Shape]]:
    channels = structure.channels
    for i, width in enumerate(structure.widths):
        patch, hidden = structure.patches[i], structure.hidden(i)
        yield from _layer(f"{names.embedding(i)}.proj", width, channels, patch, patch)
        yield from _norm(f"{names.embedding(i)}.layer_norm", width)
        for j in range(structure.depths[i]):
            block = names.block(i, j)
            yield from _norm(f"{block}.{names.NORM_BEFORE}", width)
            for kind in (names.QUERY, names.KEY, names.VALUE, names.OUTPUT):
                yield from _layer(f"{block}.{kind}", width, width)
            if (side := structure.reductions[i]) > 1:
                yield from _layer(f"{block}.{names.REDUCTION}", width, width, side, side)
                yield from _norm(f"{block}.{names.REDUCTION_NORM}", width)
            yield from _norm(f"{block}.{names.NORM_AFTER}", width)
            yield from _layer(f"{block}.{names.WIDEN}", hidden, width)
            yield from _layer(f"{block}.{names.DEPTHWISE}", hidden, 1, 3, 3)
            yield from _layer(f"{block}.{names.NARROW}", width, hidden)
        yield from _norm(f"{names.stage(i)}.layer_norm", width)
        channels = width


def _head(structure: Structure) -> Iterator[tuple[str, Shape]]:
    if structure.head == "classification":
        assert structure.classes is not None
        yield from _layer(names.CLASSIFIER, structure.classes, structure.widths[-1])
    if structure.head == "segmentation":
        assert structure.decoder is not None
        assert structure.classes is not None
        for i, width in enumerate(structure.widths):
            yield from _layer(f"{names.projection(i)}.proj", structure.decoder, width)
        yield f"{names.FUSE}.weight", (structure.decoder, structure.decoder * structure.stages, 1, 1)
        yield from _norm(names.BATCH_NORM, structure.decoder)
        for kind in ("running_mean", "running_var"):
            yield f"{names.BATCH_NORM}.{kind}", (structure.decoder,)
        yield from _layer(names.SEGMENTER, structure.classes, structure.decoder, 1, 1)


def _layer(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
