"""An FP32 graph in the precision that was asked for: the portable graph that ships, and what an engine runs of it.

FP16 and INT8 portable graphs are what TensorRT takes: strongly typed, INT8 over FP16. An engine on a CPU runs INT8 over
FP32, in its own form, from the same placement and ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

from segexport import passes
from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.precision.emulate import emulate_fp16
from segexport.precision.fp16 import to_fp16
from segexport.precision.int8 import FORMS, to_int8
from segexport.precision.placement import Placement, default_placement
from segexport.precision.ranges import Ranges
from segexport.spec import Lowering, PassResult, Precision

PORTABLE: dict[Precision, Precision] = {"fp32": "fp32", "bf16": "fp32", "fp16": "fp16", "int8": "int8"}
"""What the portable graph of each precision is in: bf16 is how an engine computes an FP32 graph."""


@dataclass(frozen=True)
class Recipe:
    """A precision and what its graphs are made with. FP16 needs ranges, INT8 a placement too."""

    precision: Precision
    ranges: Ranges | None = None
    placement: Placement | None = None


@dataclass(frozen=True)
class Derived:
    """What an engine runs: its graph (None where it is the portable one), the passes that made it, its INT8 layers."""

    graph: Graph | None
    rewrites: tuple[PassResult, ...] = ()
    int8: tuple[str, ...] = ()


def complete(graph: Graph, recipe: Recipe) -> Recipe:
    """The recipe with its defaults filled in, checked against an FP32 graph.

    Raises:
        PrecisionError: the ranges or the placement are not of this network, or it has no layer in INT8.
    """
    if PORTABLE[recipe.precision] == "fp32":
        return Recipe(recipe.precision)
    assert recipe.ranges is not None
    recipe.ranges.require_for(graph)
    if recipe.precision != "int8":
        return Recipe(recipe.precision, recipe.ranges)
    placement = recipe.placement or default_placement(graph.model.graph)
    placement.require_for(graph.model.graph, graph.source.weights_sha256)
    if not placement.int8:
        raise PrecisionError(
            f"the placement has no layer in INT8, because none paid: build with --precision {placement.precision}"
        )
    return Recipe("int8", recipe.ranges, placement)


def lower(graph: Graph, recipe: Recipe) -> tuple[Graph, Lowering | None]:
    """The portable graph of a complete recipe, from the FP32 one, which stays as it is; and what was done.

    Raises:
        PrecisionError: numbers that are NaN or infinite, or a layer without a range.
    """
    if PORTABLE[recipe.precision] == "fp32":
        return graph, None
    assert recipe.ranges is not None
    made = graph.copy()
    kept = to_fp16(made, recipe.ranges.peaks)
    int8: tuple[str, ...] = ()
    if recipe.placement is not None:
        int8 = to_int8(made, recipe.placement, recipe.ranges, FORMS["tensorrt"])
    images = recipe.ranges.images
    return made, Lowering(f"{images.count} of {images.of} images of {images.path}", images.sha256, kept, int8)


def derive(fp32: Graph, portable: Graph, engine: str, recipe: Recipe) -> Derived:
    """What an engine on a CPU runs in place of the portable graph; neither graph is changed.

    Raises:
        PrecisionError: as for `lower`.
    """
    if recipe.precision == "fp16":
        return _emulated(portable) if engine == "onnxruntime" else Derived(None)
    made = fp32.copy()
    earlier = len(made.rewrites)
    if fp32.rewrites:  # without rewrites, none of an engine's either
        passes.run(made, passes.for_engine(engine, recipe.precision))
    int8: tuple[str, ...] = ()
    if recipe.precision == "int8":
        assert recipe.placement is not None
        assert recipe.ranges is not None
        int8 = to_int8(made, recipe.placement, recipe.ranges, FORMS[engine])
    rewrites = made.rewrites[earlier:]
    changed = bool(int8) or any(result.rewritten for result in rewrites)
    return Derived(made if changed else None, rewrites, int8)


def _emulated(portable: Graph) -> Derived:
    made = portable.copy()
    emulate_fp16(made)
    return Derived(made)
