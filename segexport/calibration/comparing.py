"""Which clipping serves best: measured at each layer's output, then at the network's logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.calibration import probes
from segexport.calibration.running import in_turn, session
from segexport.graph.graph import Graph
from segexport.images import UInt8
from segexport.precision.int8 import Form, to_int8
from segexport.precision.placement import default_placement
from segexport.precision.ranges import METHODS, Method, Ranges
from segexport.spec import IMAGE

RUNS = 2 + len(METHODS)
"""Times that each image is run: for the layers' outputs, and for the logits of the mixture and of each method."""

_EMULATED = Form(unsigned=False)

Float64 = npt.NDArray[np.float64]


class Measured:
    """How much each method changes each layer's output, summed over images; and the logits that nothing changed."""

    def __init__(
        self,
        graph: Graph,
        thresholds: Mapping[str, Mapping[Method, float]],
        batches: Sequence[UInt8],
        ran: Callable[[], None],
    ) -> None:
        """Run on every batch, uint8 [N, h, w, 3]; `ran` is called after each."""
        model, self._names = probes.errors_probe(graph, thresholds)
        running = session(model)
        del model
        self._signals = np.zeros(len(self._names))
        self._errors = np.zeros((len(self._names), len(METHODS)))
        made = []
        for signals, errors, computed in in_turn(lambda batch: running.run(None, {IMAGE: batch}), batches):
            self._signals += signals
            self._errors += errors.reshape(self._errors.shape)
            made.append(computed)
            ran()
        self.logits: Float64 = np.concatenate(made).astype(np.float64)

    def sqnr_db(self) -> dict[str, dict[Method, float]]:
        """Signal-to-quantisation-noise ratio in dB, by layer and method."""
        ratio = _decibel(self._signals[:, None], self._errors)
        return {
            name: {method: float(value) for method, value in zip(METHODS, row, strict=True)}
            for name, row in zip(self._names, ratio, strict=True)
        }


def best(graph: Graph, made: Ranges, wanted: Float64, batches: Sequence[UInt8], ran: Callable[[], None]) -> Ranges:
    """`made` with the method for each layer, or one method for all, whichever serves the network's logits best.

    Args:
        graph: the portable graph in FP32; stays as it is.
        made: with the best method for each layer.
        wanted: the logits of the batches in FP32, float64.
        batches: uint8 [N, h, w, 3] each.
        ran: called after each run of a batch.
    """
    candidates: dict[str, Ranges] = {"mixed": made, **{method: _with_method(made, method) for method in METHODS}}
    ratios: dict[str, float] = {}
    for name, ranges in candidates.items():
        quantised = graph.copy()
        to_int8(quantised, default_placement(quantised.model.graph), ranges, _EMULATED)
        found = logits(quantised, batches, ran)
        ratios[name] = float(_decibel(np.sum(wanted**2), np.sum((found - wanted) ** 2)))
    chosen = max(ratios, key=ratios.__getitem__)
    rounded = {name: round(value, 2) for name, value in ratios.items()}
    return dataclasses.replace(candidates[chosen], network_sqnr_db=rounded, chosen=chosen)


def logits(graph: Graph, batches: Sequence[UInt8], ran: Callable[[], None] = lambda: None) -> Float64:
    """The network's logits of batches, float64, at its own size, computed operator by operator as written."""
    running = session(probes.logits_probe(graph))
    made = []
    for (computed,) in in_turn(lambda batch: running.run(None, {IMAGE: batch}), batches):
        made.append(computed)
        ran()
    found: Float64 = np.concatenate(made).astype(np.float64)
    return found


def _with_method(made: Ranges, method: Method) -> Ranges:
    layers = {name: dataclasses.replace(found, method=method) for name, found in made.layers.items()}
    return dataclasses.replace(made, layers=layers)


def _decibel(signal: Any, noise: Any) -> Any:
    tiny = np.finfo(np.float64).tiny
    return np.minimum(10 * np.log10(np.maximum(signal, tiny) / np.maximum(noise, tiny)), 200.0)
