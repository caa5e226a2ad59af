"""Calibration: run the FP32 graph on images, record the range of every layer's input, and choose how to clip it.

Memory does not grow with the number of images: each is read, run and counted before the next. For each layer the method
(min-max, percentile, entropy, mean squared error) is the one whose clipping and rounding of the input changed the
layer's output least, as measured; whether that mixture or one method for all serves the network best is measured at
its logits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from segexport.calibration import probes
from segexport.calibration.histogram import Histogram
from segexport.datasets import LabelledImages
from segexport.engines import require
from segexport.engines.base import as_batch, in_order
from segexport.errors import DataError, PrecisionError, SegexportWarning
from segexport.graph.graph import Graph
from segexport.graph.preprocess import IMAGE
from segexport.images import UInt8, resize_image
from segexport.precision.fp16 import require_finite
from segexport.precision.int8 import Form, to_int8
from segexport.precision.placement import default_placement
from segexport.precision.ranges import METHODS, ImageSet, Method, Range, Ranges

SAMPLES = 64
"""Images a calibration uses unless told; docs/precision.md has how the number changes the result."""

MEASURED = 8
"""Images, the first of those sampled, on which the methods are compared."""

_EMULATED = Form(unsigned=False)

Progress = Callable[[int, int], None]
"""Called with images done and images to do."""


class PlainImage(SegexportWarning):
    """A calibration image of one constant colour."""


def calibrate_graph(
    graph: Graph,
    images: LabelledImages,
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Ranges:
    """Ranges of a graph's layers on images.

    Args:
        graph: the portable graph in FP32; stays as it is.
        images: the image set. Masks are not looked at.
        samples: images to take, drawn without replacement; 64, or all of fewer, if None.
        seed: of the draw.
        progress: told how many images are done, of both passes over them.

    Raises:
        DataError: no images, fewer than `samples`, or images that cannot tell ranges.
        PrecisionError: weights or activations that are NaN or infinite.
        EngineUnavailable: ONNX Runtime, which runs the graph, is not installed.
    """
    require("onnxruntime", "fp32")
    require_finite(graph.model.graph)  # ONNX Runtime's ReduceMax may pass over a NaN
    path = images.name
    chosen = _drawn(len(images), samples, seed, path)
    compared = min(MEASURED, len(chosen))
    total = len(chosen) + compared
    histograms: dict[str, Histogram] = {}
    peaks: dict[str, float] = {}
    digest = hashlib.sha256()
    plain = 0
    with _Probes(graph) as running:
        for done, index in enumerate(chosen):
            sample = images.sample(index)
            digest.update(sample.name.encode() + sample.image.tobytes())
            plain += _is_plain(sample.image)
            running.gather(prepared(sample.image, graph), histograms, peaks, sample.name)
            progress(done + 1, total)
    _require_varied(plain, len(chosen), path)
    thresholds = {name: histogram.thresholds() for name, histogram in histograms.items()}
    measured = _Errors(graph, thresholds)
    batches = [prepared(images.sample(index).image, graph) for index in chosen[:compared]]
    for done, batch in enumerate(batches):
        measured.add(batch)
        progress(len(chosen) + done + 1, total)
    ratios = measured.sqnr_db()
    layers = {
        name: Range(found.low, found.high, thresholds[name], ratios[name], max(METHODS, key=ratios[name].__getitem__))
        for name, found in histograms.items()
    }
    made = Ranges(
        weights_sha256=graph.source.weights_sha256,
        size=graph.contract.size,
        image_size=graph.contract.image_size,
        images=ImageSet(path, len(chosen), len(images), seed, digest.hexdigest()),
        layers=layers,
        peaks=peaks,
        network_sqnr_db={},
        chosen="mixed",
    )
    return _best(graph, made, batches)


def _drawn(count: int, samples: int | None, seed: int, path: str) -> list[int]:
    if not count:
        raise DataError(f"{path} holds no images to calibrate with: pass a folder of pictures as the camera gives them")
    if samples is not None and samples > count:
        raise DataError(f"{path} holds {count} images, fewer than --samples {samples}: ask for at most {count}")
    order = np.random.default_rng(seed).permutation(count)[: samples or SAMPLES]
    return sorted(int(index) for index in order)


def _is_plain(image: UInt8) -> bool:
    return bool((image == image[:1, :1]).all())


def _require_varied(plain: int, count: int, path: str) -> None:
    remedy = "calibrate with pictures of what the camera will see"
    if 2 * plain > count:
        raise DataError(
            f"{plain} of {count} images of {path} are of one constant colour, which tells no ranges: {remedy}"
        )
    if plain:
        warnings.warn(PlainImage(f"{plain} of {count} images of {path} are of one constant colour"), stacklevel=3)


def prepared(image: UInt8, graph: Graph) -> UInt8:
    """A graph's input, uint8 [N, h, w, 3], of one RGB image of any size, as `Segmenter.prepare` makes it."""
    contract = graph.contract
    resized = resize_image(in_order(image, contract), contract.image_size, graph.preprocessing.resample)
    return as_batch(resized, contract)


class _Probes:
    """The sessions that the first pass runs for every image."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __enter__(self) -> _Probes:
        model, self._modules = probes.peaks_probe(self._graph)
        self._peaks = _session(model)
        self._inputs = [(_session(model), names) for model, names in probes.input_probes(self._graph)]
        return self

    def __exit__(self, *_: object) -> None:
        del self._peaks, self._inputs

    def gather(self, batch: UInt8, histograms: dict[str, Histogram], peaks: dict[str, float], image: str) -> None:
        """Add one image's ranges to what is there."""
        largest, smallest = self._peaks.run([probes.MAXIMA, probes.MINIMA], {IMAGE: batch})
        for module, high, low in zip(self._modules, largest, smallest, strict=True):
            peak = max(abs(float(high)), abs(float(low)))
            if not np.isfinite(peak):
                raise PrecisionError(_not_finite(module, image))
            peaks[module] = max(peaks.get(module, 0.0), peak)
        for session, readers in self._inputs:
            for (_, layers), array in zip(readers.items(), session.run(list(readers), {IMAGE: batch}), strict=True):
                shared = histograms.setdefault(layers[0], Histogram())
                if not shared.update(array):
                    raise PrecisionError(_not_finite(f"the input of {layers[0]}", image))
                histograms.update(dict.fromkeys(layers, shared))


def _not_finite(what: str, image: str) -> str:
    return (
        f"activations of {what} are NaN or infinite in FP32 on image {image}: "
        "the weights are broken; take an earlier checkpoint"
    )


class _Errors:
    """How much each method changes each layer's output, summed over images."""

    def __init__(self, graph: Graph, thresholds: dict[str, dict[Method, float]]) -> None:
        model, self._names = probes.errors_probe(graph, thresholds)
        self._session = _session(model)
        self._signals = np.zeros(len(self._names))
        self._errors = np.zeros((len(self._names), len(METHODS)))

    def add(self, batch: UInt8) -> None:
        """Measure on one batch."""
        signals, errors = self._session.run([probes.SIGNALS, probes.ERRORS], {IMAGE: batch})
        self._signals += signals
        self._errors += errors.reshape(self._errors.shape)

    def sqnr_db(self) -> dict[str, dict[Method, float]]:
        """By layer and method."""
        ratio = _decibel(self._signals[:, None], self._errors)
        return {
            name: {method: float(value) for method, value in zip(METHODS, row, strict=True)}
            for name, row in zip(self._names, ratio, strict=True)
        }


def _decibel(signal: Any, noise: Any) -> Any:
    tiny = np.finfo(np.float64).tiny
    return np.minimum(10 * np.log10(np.maximum(signal, tiny) / np.maximum(noise, tiny)), 200.0)


def _best(graph: Graph, made: Ranges, batches: Sequence[UInt8]) -> Ranges:
    """`made` with the method for each layer, or one method for all, whichever serves the network's logits best."""
    candidates: dict[str, Ranges] = {"mixed": made, **{method: _with_method(made, method) for method in METHODS}}
    wanted = logits(graph, batches)
    ratios: dict[str, float] = {}
    for name, ranges in candidates.items():
        quantised = graph.copy()
        to_int8(quantised, default_placement(quantised.model.graph), ranges, _EMULATED)
        found = logits(quantised, batches)
        ratios[name] = float(_decibel(np.sum(wanted**2), np.sum((found - wanted) ** 2)))
    chosen = max(ratios, key=ratios.__getitem__)
    rounded = {name: round(value, 2) for name, value in ratios.items()}
    return dataclasses.replace(candidates[chosen], network_sqnr_db=rounded, chosen=chosen)


def _with_method(made: Ranges, method: Method) -> Ranges:
    layers = {name: dataclasses.replace(found, method=method) for name, found in made.layers.items()}
    return dataclasses.replace(made, layers=layers)


def logits(graph: Graph, batches: Sequence[UInt8]) -> Any:
    """The network's logits of batches, float64, at its own size, computed operator by operator as written."""
    session = _session(probes.logits_probe(graph))
    return np.concatenate([session.run(None, {IMAGE: batch})[0] for batch in batches]).astype(np.float64)


def _session(model: ir.Model) -> Any:
    """The model on ONNX Runtime, computed as it is written: fusing Q/DQ pairs would compute something else."""
    from segexport.engines import onnxruntime

    with _saved(model) as path:
        return onnxruntime.session(path, None, as_written=True)


@contextmanager
def _saved(model: ir.Model) -> Iterator[Path]:
    """The model in a file for as long as it takes to read; a large one does not fit one message in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        ir.save(model, path)
        yield path
