"""Shapes: what does not fit, what is open, and where they come from."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.lint.zoo.animal import Animal, f32, i32, i64


def without_shape() -> Animal:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "zoo", [info("x", 1, None)], [info("y", 1, None)]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Animal("an input without a shape", breaks="input-rank", model=made)


SHAPES = [
    Animal("nothing makes it", "(float[8] x) => (float[8] y)", "y = Add(x, nowhere)", breaks="unknown-tensor"),
    Animal("nothing makes the output", "(float[8] x) => (float[8] y)", "z = Relu(x)", breaks="unknown-tensor"),
    Animal("a circle", "(float[8] x) => (float[8] a)", "a = Add(x, b) b = Relu(a)", breaks="cycle"),
    Animal("products that do not fit", "(float[4,8] x) => (float[4,8] y)", "y = MatMul(x, x)",
           breaks="shapes-disagree"),
    Animal("sums that do not fit", "(float[4,8] x, float[3] z) => (float[4,8] y)", "y = Add(x, z)",
           breaks="shapes-disagree"),
    Animal("weights that do not fit", "(float[1,4,8,8] x) => (float[1,4,8,8] y)", "y = Conv(x, w)",
           {"w": f32(4, 5, 1, 1)}, "shapes-disagree"),
    Animal("sizes that do not fit", "(float[4,8] x) => (float[5,5] y)", "y = Reshape(x, s)", {"s": i64(5, 5)},
           "shapes-disagree"),
    Animal("sizes in int32", "(float[1,3,4] x) => (float[3,4] y)", "y = Reshape(x, s)", {"s": i32(3, 4)}),
    Animal("eight dimensions", "(float[256] x) => (float[2,2,2,2,2,2,2,2] y)", "y = Reshape(x, s)",
           {"s": i64(*[2] * 8)}),
    Animal("nine dimensions", "(float[512] x) => (float[512] y)", "z = Reshape(x, s) y = Reshape(z, t)",
           {"s": i64(*[2] * 9), "t": i64(512)}, "rank"),
    Animal("softmax of a vector", "(float[8] x) => (float[8] y)", "y = Softmax(x)", breaks="rank-too-low"),
    Animal("instance norm of a matrix", "(float[4,8] x) => (float[4,8] y)", "y = InstanceNormalization(x, s, s)",
           {"s": f32(8)}, "rank-too-low"),
    Animal("a batch of any size", "(float[n,8] x) => (float[n,8] y)", "y = Relu(x)", breaks="input-dynamic"),
    without_shape(),
    Animal("an unused input", "(float[8] x, float[8] z) => (float[8] y)", "y = Relu(x)", breaks="input-unused"),
    Animal("a normalised image", "(float[1,3,8,8] x) => (float[1,4,8,8] y)", "y = Conv(x, w)", {"w": f32(4, 3, 1, 1)},
           "input-normalised"),
    Animal("shape arithmetic in floats", "(float[1,4,h,w] x) => (float[1,4,a,b] y)",
           "s = Shape<start=2>(x) f = Cast<to=1>(s) m = Mul(f, two) i = Cast<to=7>(m) k = Concat<axis=0>(c, i) "
           'y = Resize<mode="linear">(x, , , k)', {"two": np.float32(2), "c": i64(1, 4)}, "input-dynamic"),
    Animal("a shape from floats", "(float[1,12] x) => (float[n,m] y)",
           "m = ReduceMax<keepdims=0>(x) i = Cast<to=7>(m) j = Unsqueeze(i, z) k = Concat<axis=0>(j, j) "
           "y = Reshape(x, k)", {"z": i64(0)}, "shape-from-data"),
    Animal("a shape from a comparison", "(float[2] x, float[1] z) => (float[n,m] y)",
           "b = Greater(x, c) i = Cast<to=7>(b) y = Expand(z, i)", {"c": np.float32(0)}, "shape-from-data"),
    Animal("a shape from argmax of a cast", "(float16[1,8] x, float[1] z) => (float[n] y)",
           "f = Cast<to=1>(x) k = ArgMax<axis=1, keepdims=0>(f) y = Expand(z, k)", breaks="data-dependent-shape"),
    Animal("a range of floats", "(float n) => (float[m] y)", "y = Range(a, n, b)",
           {"a": np.float32(0), "b": np.float32(1)}, "shape-from-data"),
    Animal("a shape from argmax", "(float[1,8] x, float[4,6] z) => (float[n,6] y)",
           "k = ArgMax<axis=1, keepdims=0>(x) y = Slice(z, k, b, a)", {"a": i64(0), "b": i64(3)},
           "data-dependent-shape"),
    Animal("a resize from argmax", "(float[1,8] x, float[1,1,4,6] z) => (float[1,1,n,m] y)",
           'k = ArgMax<axis=1, keepdims=0>(x) c = Concat<axis=0>(o, k, k) y = Resize<mode="linear">(z, , , c)',
           {"o": i64(1, 1)}, "data-dependent-shape resize-by-data"),
    Animal("a shape from an input", "(float[3,1] x, int64[2] s) => (float[n,m] y)", "y = Expand(x, s)",
           breaks="shape-input"),
    Animal("sizes from an input", "(float[1,4,8,8] x, int64[4] s) => (float[a,b,c,d] y)",
           'y = Resize<mode="linear">(x, , , s)', breaks="shape-input"),
    Animal("axes from an input", "(float[1,8] x, int64[1] a) => (float y)", "y = ReduceSum<keepdims=0>(x, a)",
           breaks="constant-axes"),
    Animal("axes from a shape", "(float[1,8] x, float[n] z) => (float[1,8] y)", "s = Shape(z) y = ReduceSum(x, s)",
           breaks="constant-axes input-dynamic"),
]  # fmt: skip
