"""Attention, as three operators and as one."""

from __future__ import annotations

import numpy as np

from tests.lint.zoo.animal import Animal


def attention(name: str, shape: str, kind: str = "float16", breaks: str = "", quantized: str = "") -> Animal:
    """MatMul, Softmax, MatMul on queries of [batch, heads, queries, size]; `quantized` are some of q, k, p, v and y."""
    batch, heads, queries, size = shape.split(",")
    half = np.float16 if kind == "float16" else np.float32
    signature = (
        f"({kind}[{shape}] q, {kind}[{batch},{heads},{size},{queries}] k, {kind}[{shape}] v) => ({kind}[{shape}] y)"
    )
    body, names = "", {one: one for one in "qkpv"}
    for one in "qkpv":
        if one == "p":
            body += f"s = MatMul({names['q']}, {names['k']}) m = Mul(s, c) p = Softmax<axis=-1>(m) "
        if one in quantized:
            body += f"{one}1 = QuantizeLinear({one}, t, z) {one}2 = DequantizeLinear({one}1, t, z) "
            names[one] = f"{one}2"
    body += f"o = MatMul({names['p']}, {names['v']}) "
    body += "o1 = QuantizeLinear(o, t, z) y = DequantizeLinear(o1, t, z)" if "y" in quantized else "y = Identity(o)"
    constants = {"c": half(0.2), **({"t": half(0.1), "z": np.int8(0)} if quantized else {})}
    return Animal(f"attention {name}", signature, body, constants, breaks)


def _operator(name: str, shape: str, kind: str = "float16", inputs: str = "q, k, v", breaks: str = "") -> Animal:
    given = ", ".join(f"{kind}[{shape}] {one}" for one in dict.fromkeys(inputs.split(", ")))
    return Animal(f"Attention {name}", f"({given}) => ({kind}[{shape}] y)", f"y = Attention({inputs})", {}, breaks, 23)


ATTENTION = [
    attention("of two heads", "1,2,64,32"),
    attention("of two images", "2,1,64,32"),
    attention("of one head", "1,1,64,32", breaks="attention-one-head"),
    attention("of one head, large", "1,1,4096,32"),
    attention("in float32", "1,2,64,32", "float", "attention-fp32"),
    attention("with heads of 8", "1,2,64,8", breaks="attention-head-size"),
    attention("with heads of 512", "1,2,64,512", breaks="attention-head-size"),
    attention("with values in int8", "1,2,64,32", quantized="v"),
    attention("with keys and values in int8", "1,2,64,32", quantized="kv"),
    attention("with scores from int8", "1,2,64,32", quantized="qk", breaks="attention-half-quantized"),
    attention("with weighted sums in int8", "1,2,64,32", quantized="pv", breaks="attention-half-quantized"),
    attention("with all but its output in int8", "1,2,64,32", quantized="qkpv", breaks="attention-half-quantized"),
    attention("all in int8", "1,2,64,32", quantized="qkpvy"),
]
AS_OPERATOR = [
    _operator("operator", "1,2,64,64"),
    _operator("operator in float32", "1,2,64,64", "float", breaks="attention-operator"),
    _operator("operator of one head", "1,1,64,64", breaks="attention-operator"),
    _operator("operator of one tensor", "1,2,64,64", inputs="q, q, q", breaks="attention-shared"),
]
