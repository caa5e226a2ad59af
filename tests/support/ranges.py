"""Ranges of activations: made up, or those of a single scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from segexport import scenes
from segexport.calibration import probes
from segexport.graph.graph import Graph
from segexport.precision.ranges import METHODS, ImageSet, Range, Ranges


def around(low: float, high: float, limit: float | None = None) -> Range:
    """A range whose every method has the same threshold."""
    thresholds = dict.fromkeys(METHODS, max(-low, high) if limit is None else limit)
    return Range(low, high, thresholds, dict.fromkeys(METHODS, 30.0), "min-max")


def table(layers: Mapping[str, Range], peaks: Mapping[str, float] | None = None) -> Ranges:
    """Ranges of a graph by hand."""
    images = ImageSet("by hand", 1, 1, 0, "")
    return Ranges("", (32, 32), (32, 32), images, dict(layers), dict(peaks or {}), {}, "min-max")


def min_max_of_one_scene(graph: Graph) -> Ranges:
    """Ranges that serve to build: those of a single image, without comparing methods, which takes minutes for a B5."""
    image = scenes.scene(0, graph.contract.image_size)[0]
    batch = np.stack([image] * max(graph.contract.batch, 1))
    model, modules = probes.peaks_probe(graph)
    maxima, minima = _run(model, [probes.MAXIMA, probes.MINIMA], batch)
    peaks: dict[str, float] = {}
    for module, high, low in zip(modules, maxima, minima, strict=True):
        peaks[module] = max(peaks.get(module, 0.0), float(high), -float(low))
    found = {}
    for model, readers in probes.input_probes(graph):
        for names, array in zip(readers.values(), _run(model, list(readers), batch), strict=True):
            low, high = float(array.min()), float(array.max())
            limit = max(-low, high)
            found.update(
                dict.fromkeys(
                    names, Range(low, high, dict.fromkeys(METHODS, limit), dict.fromkeys(METHODS, 0.0), "min-max")
                )
            )
    return Ranges(
        weights_sha256=graph.source.weights_sha256,
        size=graph.contract.size,
        image_size=graph.contract.image_size,
        images=ImageSet("one scene", 1, 1, 0, ""),
        layers=found,
        peaks=peaks,
        network_sqnr_db={},
        chosen="min-max",
    )


def _run(model: ir.Model, outputs: list[str], batch: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, {"image": batch})
