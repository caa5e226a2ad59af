"""Calibration: run the FP32 graph on images, record the range of every layer's input, and choose how to clip it.

Memory does not grow with the number of images: each is read once, and two are run at a time. For each layer the method
(min-max, percentile, entropy, mean squared error) is the one whose clipping and rounding of the input changed the
layer's output least, as measured; whether that mixture or one method for all serves the network best is measured at
its logits. FP16 needs none of that, but the peaks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from segexport.calibration.comparing import RUNS, Measured, best, logits
from segexport.calibration.gathering import gather_peaks, gather_ranges
from segexport.calibration.sampling import SAMPLES, Picture, PlainImage, Sampled, prepared
from segexport.datasets import LabelledImages
from segexport.engines import require
from segexport.graph.graph import Graph
from segexport.images import UInt8
from segexport.precision.fp16 import require_finite
from segexport.precision.ranges import METHODS, PEAKS_ONLY, ImageSet, Range, Ranges

__all__ = [
    "MEASURED",
    "SAMPLES",
    "PlainImage",
    "Progress",
    "calibrate_graph",
    "logits",
    "peaks_of_graph",
    "prepared",
]

MEASURED = 8
"""Images, the first of those sampled, on which the methods are compared."""

Progress = Callable[[str], None]
"""Called with a line that says what is done of what."""


def calibrate_graph(
    graph: Graph,
    images: LabelledImages,
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> Ranges:
    """Ranges of a graph's layers on images.

    Args:
        graph: the portable graph in FP32; stays as it is.
        images: the image set. Masks are not looked at.
        samples: images to take, drawn without replacement; 64, or all of fewer, if None.
        seed: of the draw.
        progress: told "calibrating: image 3 of 64", and then "comparing methods: run 5 of 48".

    Raises:
        DataError: no images, fewer than `samples`, or images that cannot tell ranges.
        PrecisionError: weights or activations that are NaN or infinite.
        EngineUnavailable: ONNX Runtime, which runs the graph, is not installed.
    """
    sampled = _sampled(graph, images, samples, seed)
    batches: list[UInt8] = []
    gathered = _counted(progress, "calibrating: image", len(sampled))
    peaks, histograms = gather_ranges(graph, _keeping(sampled, batches), gathered)
    facts = sampled.facts()
    shared = {histogram: histogram.thresholds() for histogram in histograms.values()}
    thresholds = {name: shared[histogram] for name, histogram in histograms.items()}
    ran = _counted(progress, "comparing methods: run", RUNS * len(batches))
    measured = Measured(graph, thresholds, batches, ran)
    ratios = measured.sqnr_db()
    layers = {
        name: Range(found.low, found.high, thresholds[name], ratios[name], max(METHODS, key=ratios[name].__getitem__))
        for name, found in histograms.items()
    }
    made = _table(graph, facts, layers, peaks, "mixed")
    return best(graph, made, measured.logits, batches, ran)


def peaks_of_graph(
    graph: Graph,
    images: LabelledImages,
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> Ranges:
    """Ranges without layers: the peaks alone, which are those that `calibrate_graph` finds. All that FP16 needs.

    Args:
        graph: the portable graph in FP32; stays as it is.
        images: the image set. Masks are not looked at.
        samples: images to take, drawn without replacement; 64, or all of fewer, if None.
        seed: of the draw.
        progress: told "calibrating: image 3 of 64".

    Raises:
        DataError, PrecisionError, EngineUnavailable: see `calibrate_graph`.
    """
    sampled = _sampled(graph, images, samples, seed)
    peaks = gather_peaks(graph, sampled, _counted(progress, "calibrating: image", len(sampled)))
    return _table(graph, sampled.facts(), {}, peaks, PEAKS_ONLY)


def _sampled(graph: Graph, images: LabelledImages, samples: int | None, seed: int) -> Sampled:
    require("onnxruntime", "fp32")
    require_finite(graph.model.graph)  # ONNX Runtime's ReduceMax may pass over a NaN
    return Sampled(images, graph, samples, seed)


def _keeping(sampled: Sampled, batches: list[UInt8]) -> Iterator[Picture]:
    """The images, of which the first are kept for the comparison."""
    for picture in sampled:
        if len(batches) < MEASURED:
            batches.append(picture.batch)
        yield picture
        del picture


def _table(graph: Graph, images: ImageSet, layers: dict[str, Range], peaks: dict[str, float], chosen: str) -> Ranges:
    return Ranges(
        weights_sha256=graph.source.weights_sha256,
        size=graph.contract.size,
        image_size=graph.contract.image_size,
        images=images,
        layers=layers,
        peaks=peaks,
        network_sqnr_db={},
        chosen=chosen,
    )


def _counted(progress: Progress, what: str, total: int) -> Callable[[], None]:
    """To be called each time one more of `total` is done."""
    numbers = count(1)
    return lambda: progress(f"{what} {next(numbers)} of {total}")
