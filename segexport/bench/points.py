"""Named points of a network, found in whatever graph an engine runs, and put out by a copy of that graph.

Rewrites change what a stage hands on: the affine part of a norm may have moved into the layer behind it. What the
decode head's layers make of a stage is the same in every rewritten form, so those are the points:

    stage 1 .. 4     what the head's layer for that stage makes (decode_head.folded.N); of a classifier, the planes that
                     the next stage reads, and the mean of the last one's
    decode head      the sum of the four behind its ReLU, which the classifying layer reads
    logits           what the classifying layer makes, before any resize

A graph without rewrites has linear layers in the place of `folded`, with numbers of their own: those are points of
another form, and only points of one form are compared. A form has one layout in every graph: [N, channels, h, w], but
[N, tokens, channels] of linear layers, and [N, channels] of a classifier's mean and logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from segexport.errors import ContractError
from segexport.graph.build import Writer, dims
from segexport.passes.match import scope_of
from segexport.segformer import names

PREFIX = "segexport_point_"
"""Names of the outputs that `with_outputs` adds, before a number."""

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
_LAYERS = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True)
class Point:
    """A place in the network, and the form its numbers have there: equal points of two graphs can be compared."""

    name: str
    form: str = "as in every graph"


def find_points(graph: ir.Graph) -> dict[Point, ir.Value]:
    """The points of a SegFormer's graph, in the network's order, and the values that stand there.

    Raises:
        ContractError: no layer has the name of SegFormer's classifying one.
    """
    layers = {scope_of(node): node for node in graph if node.op_type in _LAYERS and node.domain == ""}
    last = layers.get(names.SEGMENTER) or layers.get(names.CLASSIFIER)
    if last is None:
        raise ContractError("the graph has no layer named classifier: explain a graph that segexport build made")
    segments = scope_of(last) == names.SEGMENTER
    found = dict(sorted(_head_layers(layers) if segments else _stages(layers), key=lambda entry: entry[0].name))
    found[Point("decode head" if segments else "stage 4")] = _read_by(last)
    found[Point("logits")] = _made_by(last)
    return found


def with_outputs(path: Path) -> tuple[ir.Model, dict[str, Point]]:
    """A graph with its points as further outputs, float32; and which output holds which point.

    Raises:
        ContractError: no SegFormer's graph.
    """
    model = ir.load(path)
    outputs: dict[str, Point] = {}
    writer = Writer(model.graph, "explain")
    for index, (point, value) in enumerate(find_points(model.graph).items()):
        shape = None if value.shape is None else dims(value)
        # A node of its own, so that the value keeps its name, and may be an output of the graph already.
        output = writer.op("Cast", [value], shape=shape, to=int(ir.DataType.FLOAT))
        output.name = f"{PREFIX}{index}"
        model.graph.outputs.append(output)
        outputs[output.name] = point
    return model, outputs


def _head_layers(layers: dict[str, ir.Node]) -> Iterator[tuple[Point, ir.Value]]:
    for scope, node in layers.items():
        for form, stage in (("folded", names.stage_folded(scope)), ("linear", names.stage_projected(scope))):
            if stage is not None:
                yield Point(f"stage {stage + 1}", form), _made_by(node)


def _stages(layers: dict[str, ir.Node]) -> Iterator[tuple[Point, ir.Value]]:
    """What the embeddings of stages 2 to 4 read: padded, so that no norm is folded into them."""
    for scope, node in layers.items():
        if stage := names.stage_embedded(scope):
            yield Point(f"stage {stage}"), _read_by(node)


def _made_by(layer: ir.Node) -> ir.Value:
    """A layer's output with its bias, rounded as its readers get it."""
    value = _rounded(layer.outputs[0])
    reader = _only_reader(value)
    if layer.op_type == "MatMul" and reader is not None and reader.op_type == "Add":
        value = _rounded(reader.outputs[0])
    return value


def _rounded(value: ir.Value) -> ir.Value:
    """`value` behind the casts that are all that reads it."""
    reader = _only_reader(value)
    while reader is not None and reader.op_type == "Cast" and reader.outputs[0].dtype in _FLOATS:
        value = reader.outputs[0]
        reader = _only_reader(value)
    return value


def _read_by(layer: ir.Node) -> ir.Value:
    """A layer's input, before it is quantised."""
    value = layer.inputs[0]
    assert value is not None
    node = value.producer()
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        assert node.inputs[0] is not None
        value, node = node.inputs[0], node.inputs[0].producer()
    return value


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [use.node for use in value.uses()]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None
