"""A transformer block by hand, in the names and shapes of SegFormer's, for what the builder makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from onnx import TensorProto, helper

from tests.support import small_graphs

BLOCK = "segformer.stages.0.blocks.0"
TOKENS, WIDTH = 256, 32
_TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}


def block(
    path: Path,
    precision: str = "fp16",
    *,
    heads: int = 2,
    batch: int | str = 1,
    softmax_in_fp32: bool = False,
    output: Literal["as all", "fp32", "between casts"] = "as all",
    int8: bool = False,
) -> Path:
    """Tokens -> norm -> attention -> add -> linear -> class map.

    Args:
        path: the file to write.
        precision: of everything.
        heads: of the attention.
        batch: a number or a name.
        softmax_in_fp32: casts around the softmax, in an fp16 graph.
        output: the product that ends the attention may be one of fp32, with an Erf behind it, or just stand between
            casts.
        int8: Q/DQ around the last linear layer.
    """
    numbers = np.random.default_rng(0)
    kind = np.float16 if precision == "fp16" else np.float32
    constants: dict[str, np.ndarray] = {
        "heads": np.array([-1 if isinstance(batch, str) else batch, TOKENS, heads, WIDTH // heads]),
        "joined": np.array([-1 if isinstance(batch, str) else batch, TOKENS, WIDTH]),
        "scale": np.array(0.25, kind),
        "gamma": np.ones(WIDTH, kind),
        "beta": np.zeros(WIDTH, kind),
    }
    nodes = []

    def node(module: str, operator: str, inputs: list[str], made: str, **attributes) -> str:
        name = f"{module}/{operator}:{made}"
        nodes.append(helper.make_node(operator, inputs, [made], name=name, **attributes))
        return made

    def cast(module: str, value: str, to: str) -> str:
        return node(module, "Cast", [value], f"{value}_{to}", to=_TYPES[to])

    def linear(module: str, value: str, made: str, width: int = WIDTH, dtype=kind) -> str:
        constants[f"{made}_weight"] = (numbers.normal(size=(WIDTH, width)) / 6).astype(dtype)
        return node(module, "MatMul", [value, f"{made}_weight"], made)

    attention = f"{BLOCK}.attention"
    x = cast("preprocess", "tokens", precision)
    n = node(f"{BLOCK}.layernorm_before", "LayerNormalization", [x, "gamma", "beta"], "normed", axis=-1)
    split = {}
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        value = linear(f"{attention}.{part}_proj", n, f"{part}_linear")
        value = node(attention, "Reshape", [value, "heads"], f"{part}_heads")
        split[part] = node(attention, "Transpose", [value], f"{part}_split", perm=order)
    scores = node(attention, "Mul", [node(attention, "MatMul", [split["q"], split["k"]], "qk"), "scale"], "scores")
    if softmax_in_fp32:
        scores = cast(attention, scores, "fp32")
    weights = node(attention, "Softmax", [scores], "weights", axis=-1)
    if softmax_in_fp32:
        weights = cast(attention, weights, "fp16")
    mixed = node(attention, "MatMul", [weights, split["v"]], "mixed")
    mixed = node(attention, "Transpose", [mixed], "mixed_tokens", perm=[0, 2, 1, 3])
    mixed = node(attention, "Reshape", [mixed, "joined"], "mixed_joined")
    projection = f"{attention}.o_proj"
    if output == "as all":
        mixed = linear(projection, mixed, "o_linear")
    else:
        mixed = linear(projection, cast(attention, mixed, "fp32"), "o_linear", dtype=np.float32)
        mixed = node(projection, "Erf", [mixed], "o_bent") if output == "fp32" else mixed
        mixed = cast(projection, mixed, "fp16")
    value = node(BLOCK, "Add", [x, mixed], "added")
    if int8:
        constants["head_weight_q"] = numbers.integers(-127, 128, (WIDTH, 19)).astype(np.int8)
        constants["step"], constants["zero"] = np.array(0.01, kind), np.array(0, np.int8)
        value = node("head", "QuantizeLinear", [value, "step", "zero"], "added_q")
        value = node("head", "DequantizeLinear", [value, "step", "zero"], "added_dq")
        weight = node("head", "DequantizeLinear", ["head_weight_q", "step", "zero"], "head_weight")
        value = node("head", "MatMul", [value, weight], "logits")
    else:
        value = linear("head", value, "logits", 19)
    best = node("postprocess", "ArgMax", [value], "best", axis=-1, keepdims=0)
    node("postprocess", "Cast", [best], "mask", to=TensorProto.UINT8)
    return small_graphs.save(
        path,
        nodes,
        [("tokens", TensorProto.FLOAT, [batch, TOKENS, WIDTH])],
        [("mask", TensorProto.UINT8, [batch, TOKENS])],
        constants,
    )


def product(path: Path, rows: int | str = 128) -> Path:
    """One product of fp16, [rows, 64] x [64, 32], and the classes' softmax behind it."""
    constants = {"w": np.random.default_rng(0).normal(size=(64, 32)).astype(np.float16)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="classifier/MatMul"),
        helper.make_node("Softmax", ["y"], ["scores"], name="postprocess/Softmax", axis=-1),
    ]
    half = TensorProto.FLOAT16
    return small_graphs.save(path, nodes, [("x", half, [rows, 64])], [("scores", half, [rows, 32])], constants)


def two_inputs(path: Path) -> Path:
    """Two inputs with open dimensions, the second named as TensorRT might number it."""
    half = TensorProto.FLOAT16
    nodes = [
        helper.make_node("Relu", ["image"], ["y"], name="first/Relu"),
        helper.make_node("Exp", ["state.2"], ["z"], name="second/Exp"),
    ]
    return small_graphs.save(
        path,
        nodes,
        [("image", half, ["n", "h", 8]), ("state.2", half, ["n", 4])],
        [("y", half, ["n", "h", 8]), ("z", half, ["n", 4])],
    )
