"""An FP32 graph in the precision that was asked for: the portable graph that ships, and what an engine runs of it.

FP16 and INT8 portable graphs are what TensorRT takes: strongly typed, INT8 over FP16. An engine on a CPU runs INT8 over
FP32, in its own form, from the same placement and ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from segexport import passes
from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.passes import Accumulate
from segexport.passes.match import scope_of
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


def derive_for_tensorrt(
    portable: Graph,
    class_map: Literal["graph", "device"] | None = None,
    attention_accumulate: Accumulate | None = None,
    *,
    fixed_size: bool = True,
) -> Derived:
    """What either TensorRT compiles in place of the portable graph, in whose precision; that stays as it is.

    Args:
        portable: the graph that ships, in FP32, FP16 or INT8 over FP16.
        class_map: `device` ends it at the logits, [N, classes, h, w] in its own precision, for a kernel behind it.
            Where the contract is not a class map the pass declines and says so. `device` if None.
        attention_accumulate: what fused attention adds its scores up in; FP32 if None.
        fixed_size: whether the engine serves the graph's size alone; otherwise `graph.open_size` comes behind this.
    """
    made = portable.copy()
    earlier = len(made.rewrites)
    chosen = passes.for_tensorrt(
        precision_of(portable),
        on_device=class_map != "graph",
        accumulate=attention_accumulate or "fp32",
        fixed_size=fixed_size,
    )
    if not portable.rewrites:  # without rewrites, none of an engine's either, but for what was asked for
        asked = (passes.ClassMapOnDevice, passes.HalfScores)
        chosen = tuple(one for one in chosen if isinstance(one, asked))
    passes.run(made, chosen)
    rewrites = made.rewrites[earlier:]
    return Derived(made if any(result.rewritten for result in rewrites) else None, rewrites, _int8_layers(made))


def precision_of(portable: Graph) -> Precision:
    """The precision of a portable graph, from its constants: int8 where weights are, fp16 where any number is half."""
    kinds = {value.dtype for value in portable.model.graph.initializers.values()}
    if ir.DataType.INT8 in kinds:
        return "int8"
    return "fp16" if ir.DataType.FLOAT16 in kinds else "fp32"


def _int8_layers(graph: Graph) -> tuple[str, ...]:
    """The layers whose weights are in INT8."""
    found = []
    for node in graph.model.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        maker = weight.producer() if weight is not None else None
        if node.op_type in ("Conv", "MatMul", "Gemm") and maker is not None and maker.op_type == "DequantizeLinear":
            found.append(scope_of(node))
    return tuple(found)


def _emulated(portable: Graph) -> Derived:
    made = portable.copy()
    emulate_fp16(made)
    return Derived(made)
