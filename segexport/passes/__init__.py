"""Exact graph rewrites, one per file, and the order they run in.

`PIPELINE` makes the portable graph that every engine takes; `FOR_ENGINE` derives from it what one engine runs faster,
and `for_tensorrt` what either TensorRT compiles, from the portable graph in its precision.
A pass is in a pipeline only where it pays: docs/rewrites.md has the measured gains. Imports point left: a pass knows
onnx_ir and `segexport.graph`, never torch, an engine or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx_ir.passes.common import RemoveUnusedNodesPass

from segexport.graph.graph import Graph
from segexport.passes.base import Pass
from segexport.passes.center_norms import CenterNorms
from segexport.passes.channels_last import ChannelsLast
from segexport.passes.class_map_on_device import ClassMapOnDevice
from segexport.passes.class_map_on_host import ClassMapOnHost
from segexport.passes.fold_decode_head import FoldDecodeHead
from segexport.passes.fold_layer_norm import FoldLayerNorm
from segexport.passes.fold_normalization import FoldNormalization
from segexport.passes.fuse_attention import FuseAttention
from segexport.passes.fuse_class_map import FuseClassMap
from segexport.passes.fuse_gelu import FuseGelu
from segexport.passes.half_scores import Accumulate, HalfScores
from segexport.passes.merge_values import MergeValues
from segexport.passes.pointwise_mlp import PointwiseMlp
from segexport.passes.scale_queries import ScaleQueries
from segexport.passes.split_queries import SplitQueries
from segexport.passes.sum_upsampled import SumUpsampled
from segexport.spec import Precision

__all__ = [
    "CANDIDATES",
    "FOR_ENGINE",
    "PIPELINE",
    "Accumulate",
    "CenterNorms",
    "ChannelsLast",
    "ClassMapOnDevice",
    "ClassMapOnHost",
    "FoldDecodeHead",
    "FoldLayerNorm",
    "FoldNormalization",
    "FuseAttention",
    "FuseClassMap",
    "FuseGelu",
    "HalfScores",
    "MergeValues",
    "PointwiseMlp",
    "ScaleQueries",
    "SplitQueries",
    "SumUpsampled",
    "for_engine",
    "for_tensorrt",
    "run",
]

PIPELINE: tuple[Pass, ...] = (FoldDecodeHead(), FoldNormalization(), PointwiseMlp())

FOR_ENGINE: Mapping[str, tuple[Pass, ...]] = {
    "onnxruntime": (ChannelsLast(), FuseGelu(), MergeValues(), FuseAttention(), ClassMapOnHost()),
    "openvino": (ChannelsLast(), FoldLayerNorm(), CenterNorms(), MergeValues(), ClassMapOnHost()),
}

CANDIDATES: tuple[Pass, ...] = (ScaleQueries(),)
"""Exact, tested, and in no pipeline because they do not pay on the engines measured so far (docs/rewrites.md). They run
before those of `FOR_ENGINE`, whose spellings are not theirs."""


def for_engine(name: str, precision: Precision) -> tuple[Pass, ...]:
    """The passes that pay on an engine in a precision.

    In INT8 the affine part of a norm stays where it is: in the weights behind it, it would spread their columns, which
    share a scale, over more magnitudes.
    """
    found = FOR_ENGINE[name]
    return found if precision != "int8" else tuple(one for one in found if not isinstance(one, FoldLayerNorm))


def for_tensorrt(
    precision: Precision, *, on_device: bool, accumulate: Accumulate = "fp32", fixed_size: bool = True
) -> tuple[Pass, ...]:
    """The passes that pay on either TensorRT, for the portable graph in `precision`.

    Args:
        precision: in FP32 no attention is fused, and there is nothing to split.
        on_device: whether a kernel behind the engine makes the class map.
        accumulate: what the fused attention sums its scores in.
        fixed_size: whether the engine serves one size alone: gathers name the pixels they fetch.
    """
    found: list[Pass] = [MergeValues()]
    if precision in ("fp16", "int8"):
        found.append(SplitQueries())
        if accumulate == "fp16":
            found.append(HalfScores())
    if fixed_size:
        found.append(SumUpsampled())
    if on_device:
        found.append(ClassMapOnDevice())
    elif fixed_size:
        found.append(FuseClassMap())
    return tuple(found)


def run(graph: Graph, passes: Sequence[Pass] = PIPELINE) -> Graph:
    """Apply `passes` to `graph` in order, in place; what each did is appended to `graph.rewrites`."""
    for rewrite in passes:
        graph.rewrites += (rewrite(graph),)
        RemoveUnusedNodesPass()(graph.model)
    return graph
