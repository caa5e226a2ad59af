"""Operators and their attributes, opsets and domains."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.lint.zoo.animal import Animal, f32, i32, i64


def with_graphs(name: str, *, operator: str) -> Animal:
    """If, Loop or Scan, which the text form has no short way to write."""
    info = helper.make_tensor_value_info
    inputs = [info("x", 1, [8])]
    constants = {"true": np.array(True), "four": np.array(4)}
    if operator == "If":
        inputs.append(info("c", TensorProto.BOOL, []))
        branches = [
            helper.make_graph([helper.make_node(op, ["x", "x"], [op])], op, [], [info(op, 1, [8])])
            for op in ("Add", "Mul")
        ]
        node = helper.make_node("If", ["c"], ["y"], name=operator, then_branch=branches[0], else_branch=branches[1])
    else:
        nodes = [helper.make_node("Add", ["v", "x"], ["w"]), helper.make_node("Identity", ["go"], ["on"])]
        values = [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", 1, [8])]
        body = helper.make_graph(nodes, "body", values, [info("on", TensorProto.BOOL, []), info("w", 1, [8])])
        node = helper.make_node("Loop", ["four", "true", "x"], ["y"], name=operator, body=body)
    weights = [numpy_helper.from_array(array, one) for one, array in constants.items()]
    graph = helper.make_graph([node], "zoo", inputs, [info("y", 1, [8])], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Animal(name, breaks="control-flow", model=made)


def with_function() -> Animal:
    """A function of the model's own."""
    info = helper.make_tensor_value_info
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets[:1]
    )
    node = helper.make_node("Twice", ["x"], ["y"], domain="local", name="twice")
    graph = helper.make_graph([node], "zoo", [info("x", 1, [8])], [info("y", 1, [8])])
    return Animal(
        "a local function", model=helper.make_model(graph, opset_imports=opsets, functions=[twice], ir_version=10)
    )


def _resize(name: str, attributes: str, breaks: str = "", kind: str = "float16") -> Animal:
    signature = f"({kind}[1,4,8,8] x) => ({kind}[1,4,16,16] y)"
    return Animal(f"Resize {name}", signature, f"y = Resize<{attributes}>(x, , , s)", {"s": i64(1, 4, 16, 16)}, breaks)


OPERATORS = [
    _resize("linear", 'mode="linear"'),
    _resize("cubic", 'mode="cubic"'),
    _resize("align_corners", 'mode="linear", coordinate_transformation_mode="align_corners"'),
    _resize("antialias", 'mode="linear", antialias=1', "resize-antialias"),
    _resize("keep aspect", 'mode="linear", keep_aspect_ratio_policy="not_larger"', "resize-aspect"),
    _resize("int32", 'mode="nearest"', "operator-type", "int32"),
    _resize("uint8", 'mode="nearest"', "uint8-reader", "uint8"),
    _resize("bool", 'mode="nearest"', "operator-type", "bool"),
    Animal("Resize half_pixel_symmetric", "(float[1,4,8,8] x) => (float[1,4,16,16] y)",
           'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel_symmetric">(x, , , s)',
           {"s": i64(1, 4, 16, 16)}, "resize-coordinates", opset=19),
    Animal("Resize of the batch too", "(float[2,8,8,4] x) => (float[4,16,16,8] y)",
           'y = Resize<mode="linear">(x, , , s)', {"s": i64(4, 16, 16, 8)}, "resize-dimensions"),
    Animal("NonZero", "(float[4,8] x) => (int64[2,n] y)", "y = NonZero(x)", breaks="operator-missing"),
    Animal("Compress", "(float[8] x, bool[8] b) => (float[n] y)", "y = Compress<axis=0>(x, b)",
           breaks="operator-missing"),
    Animal("Unique", "(float[8] x) => (float[n] y)", "y = Unique(x)", breaks="operator-missing"),
    Animal("NonMaxSuppression", "(float[1,32,4] b, float[1,1,32] s) => (int64[n,3] y)",
           "y = NonMaxSuppression(b, s, m)", {"m": i64(5)}, "operator-missing"),
    Animal("MatMulInteger", "(int8[8,8] x) => (int32[8,8] y)", "y = MatMulInteger(x, x)", breaks="operator-missing"),
    Animal("ConvInteger", "(int8[1,3,8,8] x, int8[4,3,1,1] w) => (int32[1,4,8,8] y)", "y = ConvInteger(x, w)",
           breaks="operator-missing"),
    Animal("DynamicQuantizeLinear", "(float[8] x) => (float[8] y)", "q, s, z = DynamicQuantizeLinear(x) y = Relu(x)",
           breaks="operator-missing"),
    Animal("Det", "(float[3,3] x) => (float y)", "y = Det(x)", breaks="operator-missing"),
    Animal("an operator that ONNX has not", "(float[8] x) => (float[8] y)", "y = Frobnicate(x)",
           breaks="operator-missing"),
    Animal("TopK of 3840", "(float[1,5000] x) => (float[1,3840] y, int64[1,3840] i)", "y, i = TopK(x, k)",
           {"k": i64(3840)}),
    Animal("TopK of 3841", "(float[1,5000] x) => (float[1,3841] y, int64[1,3841] i)", "y, i = TopK(x, k)",
           {"k": i64(3841)}, "topk-size"),
    Animal("LayerNormalization", "(float[4,8] x) => (float[4,8] y)", "y = LayerNormalization(x, s)", {"s": f32(8)}),
    Animal("LayerNormalization with its mean", "(float[4,8] x) => (float[4,8] y)", "y, m = LayerNormalization(x, s)",
           {"s": f32(8)}, "extra-outputs"),
    Animal("BatchNormalization in training", "(float[1,4,8,8] x) => (float[1,4,8,8] y)",
           "y, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s)", {"s": f32(4)},
           "extra-outputs batchnorm-training"),
    Animal("MaxPool", "(float[1,3,8,8] x) => (float[1,3,7,7] y)", "y = MaxPool<kernel_shape=[2,2]>(x)",
           breaks="input-normalised"),
    Animal("MaxPool with dilations", "(float[1,4,8,8] x) => (float[1,4,6,6] y)",
           "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", breaks="pool-dilations"),
    Animal("ScatterND that adds", "(float[4,8] x, float[1,8] u) => (float[4,8] y)",
           'y = ScatterND<reduction="add">(x, i, u)', {"i": np.zeros((1, 1), np.int64)}, "scatter-reduction"),
    Animal("ScatterElements that adds", "(float[4,8] x, float[1,8] u) => (float[4,8] y)",
           'y = ScatterElements<reduction="add">(x, i, u)', {"i": np.zeros((1, 8), np.int64)},
           "scatter-elements-reduction"),
    Animal("convolution in four dimensions", "(float[1,4,4,4,4,4] x) => (float[1,4,4,4,4,4] y)", "y = Conv(x, w)",
           {"w": f32(4, 4, 1, 1, 1, 1)}, "conv-dimensions"),
    Animal("Slice without axes", "(float[4,8] x) => (float[2,8] y)", "y = Slice(x, a, b)", {"a": i64(0), "b": i64(2)},
           "slice-axes"),
    Animal("Slice in int32", "(float[4,8] x) => (float[2,8] y)", "y = Slice(x, a, b, a)", {"a": i32(0), "b": i32(2)},
           "slice-int32"),
    Animal("Slice in int32 with steps", "(float[4,8] x) => (float[2,8] y)", "y = Slice(x, a, b, a, c)",
           {"a": i32(0), "b": i32(2), "c": i32(1)}),
    Animal("Gelu", "(float16[8] x) => (float16[8] y)", "y = Gelu(x)", opset=20),
    Animal("Gelu before its opset", "(float16[8] x) => (float16[8] y)", "y = Gelu(x)", breaks="operator-newer"),
    Animal("opset 6", "(float[8] x) => (float[8] y)", "y = Relu(x)", opset=6, breaks="opset-too-old"),
    *(Animal(f"opset {n}", "(float[8] x) => (float[8] y)", "y = Relu(x)", opset=n) for n in (7, 9, 13, 21, 25, 26)),
    Animal("a known name in another domain", "(float[8] x) => (float[8] y)", "y = com.microsoft.Gelu(x)",
           breaks="domain-ignored"),
    Animal("another engine's fusion", "(float[8,8] x) => (float[8,8] y)", "y = com.microsoft.FusedMatMul(x, x)",
           breaks="operator-foreign"),
    Animal("an operator of one's own", "(float[8] x) => (float[8] y)", "y = my.own.Mine(x)", breaks="operator-foreign"),
    with_graphs("a branch", operator="If"),
    with_graphs("a loop", operator="Loop"),
    with_function(),
]  # fmt: skip
