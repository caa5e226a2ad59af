"""What activations were on images: the largest magnitude of every one, and the distribution of what layers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.calibration import probes
from segexport.calibration.histogram import Histogram
from segexport.calibration.running import in_turn, session
from segexport.calibration.sampling import Picture
from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.spec import IMAGE

Extremes = npt.NDArray[np.float32]


def gather_peaks(graph: Graph, pictures: Iterable[Picture], gathered: Callable[[], None]) -> dict[str, float]:
    """The largest magnitude of any activation of each module; `gathered` is called after each picture.

    Raises:
        PrecisionError: activations that are NaN or infinite; names what they are of, and the image.
    """
    model, modules = probes.peaks_probe(graph)
    running = session(model)
    inputs = [f"the input of {names[0]}" for names in probes.layer_inputs(graph).values()]
    outputs = [probes.MAXIMA, probes.MINIMA, probes.SQUARES]
    del model

    def compute(picture: Picture) -> tuple[str, list[Extremes]]:
        return picture.name, running.run(outputs, {IMAGE: picture.batch})

    peaks: dict[str, float] = {}
    for image, (largest, smallest, squares) in in_turn(compute, pictures):
        _add_peaks(peaks, modules, largest, smallest, image)
        for what, square in zip(inputs, squares, strict=True):
            if np.isnan(square):  # a sum of squares is NaN for a NaN alone; the extremes may pass over one
                raise PrecisionError(_not_finite(what, image))
        gathered()
    return peaks


def gather_ranges(
    graph: Graph, pictures: Iterable[Picture], gathered: Callable[[], None]
) -> tuple[dict[str, float], dict[str, Histogram]]:
    """The peaks, as `gather_peaks` finds them, and what each layer read; layers that read the same share a histogram.

    Raises:
        PrecisionError: activations that are NaN or infinite; names what they are of, and the image.
    """
    modules = probes.modules_of(graph)
    sessions = [(session(model), readers) for model, readers in probes.input_probes(graph, with_peaks=True)]
    peaks: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}

    def runs() -> Iterator[tuple[Picture, int]]:
        for picture in pictures:
            for index in range(len(sessions)):
                yield picture, index
            del picture

    def compute(run: tuple[Picture, int]) -> tuple[str, int, dict[str, Any]]:
        picture, index = run
        running, readers = sessions[index]
        outputs = [*readers] if index else [probes.MAXIMA, probes.MINIMA, *readers]
        return picture.name, index, dict(zip(outputs, running.run(outputs, {IMAGE: picture.batch}), strict=True))

    for image, index, found in in_turn(compute, runs()):
        readers = sessions[index][1]
        if index == 0:
            _add_peaks(peaks, modules, found[probes.MAXIMA], found[probes.MINIMA], image)
        _add_inputs(histograms, readers, found, image)
        if index == len(sessions) - 1:
            gathered()
    return peaks, histograms


def _add_peaks(
    peaks: dict[str, float], modules: tuple[str, ...], largest: Extremes, smallest: Extremes, image: str
) -> None:
    for module, high, low in zip(modules, largest, smallest, strict=True):
        peak = max(abs(float(high)), abs(float(low)))
        if not np.isfinite(peak):
            raise PrecisionError(_not_finite(module, image))
        peaks[module] = max(peaks.get(module, 0.0), peak)


def _add_inputs(
    histograms: dict[str, Histogram], readers: Mapping[str, tuple[str, ...]], found: Mapping[str, Any], image: str
) -> None:
    for value, names in readers.items():
        shared = histograms.setdefault(names[0], Histogram())
        if not shared.update(found[value]):
            raise PrecisionError(_not_finite(f"the input of {names[0]}", image))
        histograms.update(dict.fromkeys(names, shared))


def _not_finite(what: str, image: str) -> str:
    return (
        f"activations of {what} are NaN or infinite in FP32 on image {image}: "
        "the weights are broken; take an earlier checkpoint"
    )
