"""Graphs of a few nodes written by hand, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from segexport import passes
from segexport.graph.graph import Graph
from segexport.passes.base import Pass
from segexport.spec import Contract, Labels, PassResult, Preprocessing, Source


def graph_of(signature: str, body: str, constants: Mapping[str, np.ndarray]) -> Graph:
    """A graph in ONNX's own text form; float constants become float32 unless they are float16, whole ones int64.

    Args:
        signature: name, inputs and outputs, such as `(float[1,4] x) => (float[1,4] y)`.
        body: one node a line. A node is named by its output's name.
        constants: by name.
    """
    text = f'<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]> handmade {signature} {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for name, array in constants.items():
        kept = array if array.dtype == np.float16 else array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(kept, name))
    for node in model.graph.node:
        node.name = node.output[0]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    facts = Contract((32, 32), output="logits"), Preprocessing(), Labels(("a",), ((0, 0, 0),))
    return Graph(ir.from_proto(model), *facts, Source("test", None, ""))


def outputs_of(graph: Graph, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Every output, as ONNX Runtime computes it without rewrites of its own."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = ir.to_proto(graph.model)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: array.astype(np.float32) for name, array in inputs.items()})


def apply(graph: Graph, rewrite: Pass) -> PassResult:
    """Run one pass as a pipeline does."""
    return passes.run(graph, (rewrite,)).rewrites[-1]


def operators(graph: Graph) -> list[str]:
    """Operator types in the graph's order."""
    return [node.op_type for node in graph.model.graph]


def assert_declined(graph: Graph, rewrite: Pass, reason: str, inputs: Mapping[str, np.ndarray]) -> None:
    """The pass leaves the graph as it is, and says why at exactly one place."""
    before, nodes = outputs_of(graph, inputs), operators(graph)
    result = rewrite(graph)
    assert result.rewritten == ()
    (declined,) = result.declined
    assert reason in declined.reason
    assert operators(graph) == nodes
    for found, wanted in zip(outputs_of(graph, inputs), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def assert_unchanged(graph: Graph, rewrite: Pass) -> None:
    """Another run of the pass finds nothing more to do."""
    nodes, constants = operators(graph), set(graph.model.graph.initializers)
    result = apply(graph, rewrite)
    assert result.rewritten == ()
    assert operators(graph) == nodes
    assert set(graph.model.graph.initializers) == constants


def modules(signature: str, body: str, constants: Mapping[str, np.ndarray]) -> Graph:
    """A graph by hand; every node is a module of its own, named as its output."""
    graph = graph_of(signature, body, constants)
    for node in graph.model.graph:
        node.name = f"{node.outputs[0].name}/{node.op_type}"
    return graph


def proto_of(graph: Graph) -> onnx.ModelProto:
    """The model, checked in full."""
    model = ir.to_proto(graph.model)
    onnx.checker.check_model(model, full_check=True)
    return model


def computed(graph: Graph, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output on ONNX Runtime with its own optimizations, as an engine would run it."""
    session = ort.InferenceSession(proto_of(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))[0]
