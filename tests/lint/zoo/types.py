"""Element types: uint8 at the edges, types that there are not, and what an operator takes."""

from __future__ import annotations

import numpy as np

from tests.lint.zoo.animal import Animal, f32, i8, i64

_IMAGE = "(uint8[1,8,8,3] x) => "
_UINT8 = [
    Animal("uint8 to float", f"{_IMAGE}(float[1,8,8,3] y)", "y = Cast<to=1>(x)"),
    Animal("uint8 to float16", f"{_IMAGE}(float16[1,8,8,3] y)", "y = Cast<to=10>(x)"),
    Animal("uint8 like another", "(uint8[8] x, float16[8] r) => (float16[8] y)", "z = CastLike(x, r) y = Add(z, r)"),
    Animal("uint8 straight through", "(uint8[8] x) => (uint8[8] y)", "y = Identity(x)"),
    Animal("uint8 and its shape", f"{_IMAGE}(float[1,8,8,3] y, int64[4] s)", "y = Cast<to=1>(x) s = Shape(x)"),
    Animal(
        "uint8 transposed",
        f"{_IMAGE}(float[1,3,8,8] y)",
        "z = Transpose<perm=[0,3,1,2]>(x) y = Cast<to=1>(z)",
        breaks="uint8-reader",
    ),
    Animal(
        "uint8 reshaped",
        f"{_IMAGE}(float[64,3] y)",
        "z = Reshape(x, s) y = Cast<to=1>(z)",
        {"s": i64(64, 3)},
        breaks="uint8-reader",
    ),
    Animal(
        "uint8 sliced",
        f"{_IMAGE}(float[1,8,8,3] y)",
        "z = Slice(x, a, b, c) y = Cast<to=1>(z)",
        {"a": i64(0), "b": i64(8), "c": i64(2)},
        breaks="uint8-reader",
    ),
    Animal(
        "uint8 copied, then cast",
        f"{_IMAGE}(float[1,8,8,3] y)",
        "z = Identity(x) y = Cast<to=1>(z)",
        breaks="uint8-inside",
    ),
    Animal(
        "uint8 compared",
        "(uint8[8] x) => (bool[8] y)",
        "y = Equal(x, c)",
        {"c": np.ones(8, np.uint8)},
        breaks="uint8-reader mixed-types",
    ),
    Animal(
        "uint8 indices",
        "(uint8[4] x) => (float[4] y)",
        "y = Gather(t, x)",
        {"t": f32(256)},
        breaks="uint8-reader input-type",
    ),
    Animal("uint8 out of float", "(float[8] x) => (uint8[8] y)", "y = Cast<to=2>(x)"),
    Animal(
        "uint8 out of argmax",
        "(float[1,8,4,4] x) => (uint8[1,4,4] y)",
        "a = ArgMax<axis=1, keepdims=0>(x) y = Cast<to=2>(a)",
    ),
    Animal("uint8 out and read", "(float[8] x) => (uint8[8] y, float[8] z)", "y = Cast<to=2>(x) z = Cast<to=1>(y)"),
    Animal(
        "uint8 in the middle",
        "(float[8] x) => (float[8] y)",
        "z = Cast<to=2>(x) y = Cast<to=1>(z)",
        breaks="uint8-inside",
    ),
    Animal(
        "uint8 cast, then reshaped",
        "(float[8] x) => (uint8[2,4] y)",
        "z = Cast<to=2>(x) y = Reshape(z, s)",
        {"s": i64(2, 4)},
        breaks="uint8-reader uint8-inside",
    ),
    Animal(
        "uint8 constant cast",
        "(float[8] x) => (float[8] y)",
        "c = Cast<to=1>(t) y = Add(x, c)",
        {"t": np.ones(8, np.uint8)},
    ),
    Animal("uint8 constant is int32", "(int32[8] x) => (int32[8] y)", "y = Add(x, t)", {"t": np.ones(8, np.uint8)}),
    Animal(
        "uint8 table given out",
        "(int64[2] x) => (uint8[2] y)",
        "y = Gather(t, x)",
        {"t": np.ones(8, np.uint8)},
        breaks="output-int32",
    ),
]

_TYPES = [
    *(
        Animal(f"{name} input", f"({name}[8] x) => (float[8] y)", "y = Cast<to=1>(x)", breaks="type-unsupported")
        for name in ("int16", "uint16", "uint32", "uint64")
    ),
    *(
        Animal(f"{name} input", f"({name}[8] x) => (float[8] y)", "y = Cast<to=1>(x)")
        for name in ("int8", "int32", "int64", "bool", "bfloat16", "float16")
    ),
    Animal("int16 output", "(float[8] x) => (int16[8] y)", "y = Cast<to=5>(x)", breaks="type-unsupported"),
    Animal("uint16 in the middle", "(float[8] x) => (float[8] y)", "z = Cast<to=4>(x) y = Cast<to=1>(z)",
           breaks="type-unsupported"),
    Animal("int16 constant that nothing reads", "(float[8] x) => (float[8] y)", "y = Relu(x)",
           {"c": np.ones(8, np.int16)}, breaks="type-unsupported"),
    Animal("a string", "(string[1] x) => (string[1] y)", "y = Identity(x)", breaks="type-unsupported"),
    Animal("complex numbers", "(complex64[1] x) => (complex64[1] y)", "y = Identity(x)", breaks="type-unsupported"),
    Animal("string constant", "(float[8] x) => (float[8] y)", 'c = Constant<value_string="a">() y = Relu(x)',
           breaks="constant-kind type-unsupported"),
    Animal("float64 inside", "(float[8] x) => (float[8] y)", "a = Cast<to=11>(x) b = Add(a, c) y = Cast<to=1>(b)",
           {"c": np.ones(8)}, breaks="float64"),
    Animal("float64 with float32", "(double[8] x) => (float[8] y)", "y = Add(x, c)", {"c": np.float32(1)},
           breaks="float64"),
    Animal("float64 output", "(double[8] x) => (double[8] y)", "y = Add(x, x)", breaks="float64 output-type"),
    Animal("int8 constant", "(float[8] x) => (float[8] y)", "c = Cast<to=1>(t) y = Add(x, c)", {"t": i8(8)},
           breaks="int8-constant"),
    Animal("argmax declared int32", "(float[1,8,4,4] x) => (int32[1,4,4] y)", "y = ArgMax<axis=1, keepdims=0>(x)",
           breaks="output-type"),
    Animal("int32 declared int64", "(float[8] x) => (int64[8] y)", "y = Cast<to=6>(x)", breaks="output-int32"),
    Animal("bool arithmetic", "(bool[8] x) => (bool[8] y)", "y = Add(x, x)", breaks="operator-type"),
    Animal("float logic", "(float[8] x) => (bool[8] y)", "y = And(x, x)", breaks="operator-type"),
    Animal("int32 relu", "(int32[8] x) => (int32[8] y)", "y = Relu(x)", breaks="operator-type"),
    Animal("int64 relu", "(int64[8] x) => (int64[8] y)", "y = Relu(x)"),
    Animal("int32 matrices", "(int32[8,8] x) => (int32[8,8] y)", "y = MatMul(x, x)", breaks="operator-type"),
    Animal("int32 condition", "(int32[8] c, float[8] x) => (float[8] y)", "y = Where(c, x, x)", breaks="input-type"),
]  # fmt: skip


TYPES = (*_UINT8, *_TYPES)
