"""Types that meet."""

from __future__ import annotations

import numpy as np

from tests.lint.zoo.animal import Animal, f16, f32, i32, i64


def _mixes() -> list[Animal]:
    found = []
    for operator in ("Add", "Mul", "Div", "Max", "Equal", "PRelu"):
        out = "bool" if operator == "Equal" else "float16"
        for name, array in (("float16", f16(8)), ("float32", f32(8))):
            broken = "mixed-types" if name == "float32" else ""
            signature = f"(float16[1,8] x) => ({out}[1,8] y)"
            found.append(Animal(f"{operator} with {name}", signature, f"y = {operator}(x, c)", {"c": array}, broken))
    for name, signature, body, constants in (
        ("MatMul", "(float16[8,8] x) => (float16[8,8] y)", "y = MatMul(x, c)", ("c", (8, 8))),
        ("Gemm", "(float16[8,8] x) => (float16[8,8] y)", "y = Gemm(x, x, c)", ("c", (8,))),
        ("Einsum", "(float16[8,8] x) => (float16[8,8] y)", 'y = Einsum<equation="ij,jk->ik">(x, c)', ("c", (8, 8))),
        ("Conv weight", "(float16[1,4,8,8] x) => (float16[1,4,8,8] y)", "y = Conv(x, c)", ("c", (4, 4, 1, 1))),
        (
            "Conv bias",
            "(float16[1,4,8,8] x, float16[4,4,1,1] w) => (float16[1,4,8,8] y)",
            "y = Conv(x, w, c)",
            ("c", (4,)),
        ),
        ("Concat", "(float16[1,8] x) => (float16[2,8] y)", "y = Concat<axis=0>(x, c)", ("c", (1, 8))),
        ("LayerNormalization", "(float16[4,8] x) => (float16[4,8] y)", "y = LayerNormalization(x, c, c)", ("c", (8,))),
        ("Sum of three", "(float16[8] x) => (float16[8] y)", "y = Sum(x, x, c)", ("c", (8,))),
    ):
        for kind in ("float16", "float32"):
            array = np.ones(constants[1], kind)
            found.append(
                Animal(f"{name} with {kind}", signature, body, {"c": array}, "mixed-types" * (kind == "float32"))
            )
    return found


MIXED = [
    *_mixes(),
    Animal("int64 with int32", "(int64[8] x) => (int64[8] y)", "y = Add(x, c)", {"c": i32(*range(8))}, "mixed-types"),
    Animal("int64 with int64", "(int64[8] x) => (int64[8] y)", "y = Add(x, c)", {"c": i64(*range(8))}),
    Animal("Where of two types", "(bool[8] b, float16[8] x, float[8] z) => (float16[8] y)", "y = Where(b, x, z)",
           breaks="mixed-types"),
    Animal("GridSample of two types", "(float16[1,4,8,8] x, float[1,8,8,2] g) => (float16[1,4,8,8] y)",
           "y = GridSample(x, g)", opset=20, breaks="mixed-types"),
    Animal("Pow with a float32 exponent", "(float16[8] x) => (float16[8] y)", "y = Pow(x, c)", {"c": np.float32(2)}),
    Animal("Clip with float32 bounds", "(float16[8] x) => (float16[8] y)", "y = Clip(x, a, b)",
           {"a": np.float32(0), "b": np.float32(6)}),
    Animal("BatchNormalization in float32", "(float16[1,4,8,8] x) => (float16[1,4,8,8] y)",
           "y = BatchNormalization(x, s, s, s, s)", {"s": f32(4)}),
    Animal("shape in int32", "(float[1,3,h,w] x) => (float[1,3,a,b] y)",
           's = Shape<start=2>(x) i = Cast<to=6>(s) k = Concat<axis=0>(c, i) y = Resize<mode="linear">(x, , , k)',
           {"c": i64(1, 3)}, "mixed-types input-dynamic input-normalised"),
]  # fmt: skip
