"""How much each layer alone, in INT8, changes the network's logits.

Noise of independent roundings adds up in power, so that what a set of layers costs is, to first order, the sum of what
each costs alone (Choukroun et al. 2019, arXiv:1902.06822; Dong et al. 2019, arXiv:1905.03696, order layers likewise).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segexport.calibration import logits, prepared
from segexport.datasets import LabelledImages
from segexport.graph.graph import Graph
from segexport.precision.int8 import FORMS, to_int8
from segexport.precision.layers import layers
from segexport.precision.placement import Placement
from segexport.precision.ranges import Ranges

IMAGES = 2

Progress = Callable[[str], None]


def sensitivities(
    graph: Graph, ranges: Ranges, images: LabelledImages, engine: str, progress: Progress = lambda step: None
) -> dict[str, float]:
    """Noise over signal, as power, at the logits, for each layer in INT8 alone.

    Args:
        graph: the portable graph in FP32; stays as it is.
        ranges: of the layers' inputs.
        images: the first few are run.
        engine: whose form of INT8 is rounded to.
        progress: told "sensitivity: layer 3 of 40".
    """
    names = [layer.name for layer in layers(graph.model.graph)]
    batches = [prepared(images.sample(index).image, graph) for index in range(min(IMAGES, len(images)))]
    wanted = logits(graph, batches)
    signal = float(np.sum(wanted**2)) or 1.0
    found = {}
    for done, name in enumerate(names, 1):
        copy = graph.copy()
        to_int8(copy, Placement((name,)), ranges, FORMS[engine])
        found[name] = float(np.sum((logits(copy, batches) - wanted) ** 2)) / signal
        progress(f"sensitivity: layer {done} of {len(names)}")
    return found
