"""Graphs of one operator that end in a class map, and why a rewrite of it declines."""

from __future__ import annotations

import dataclasses

import numpy as np

from segexport.graph.graph import Graph
from tests.support.handmade import graph_of

CLASSES, GRID, SIZE = 5, (6, 7), (24, 28)
HALF_PIXEL = 'mode="linear", coordinate_transformation_mode="half_pixel"'
PLANES = f"float[1,{CLASSES},{SIZE[0]},{SIZE[1]}] leak"
REASONS = [
    ({"output": "logits"}, "the contract asks for logits"),
    ({"output": "scores"}, "the contract asks for scores"),
    ({"argmax": "ArgMin <axis=1, keepdims=0> (u)"}, "expected ArgMax, found ArgMin"),
    ({"argmax": "ArgMax <axis=1, keepdims=0, select_last_index=1> (u)"}, "highest id"),
    ({"resize": 'Resize <mode="nearest"> (n, , , sizes)'}, "not bilinear"),
    ({"resize": 'Resize <mode="cubic"> (n, , , sizes)'}, "not bilinear"),
    (
        {"resize": 'Resize <mode="linear", coordinate_transformation_mode="align_corners"> (n, , , sizes)'},
        "samples at align_corners",
    ),
    (  # which is another pixel where the map has one row
        {"resize": 'Resize <mode="linear", coordinate_transformation_mode="pytorch_half_pixel"> (n, , , sizes)'},
        "samples at pytorch_half_pixel",
    ),
    ({"resize": f"Resize <{HALF_PIXEL}, antialias=1> (n, , , sizes)"}, "antialiased"),
    ({"outputs": ", " + PLANES, "extra": "leak = Identity (u)"}, "other readers"),
    (
        {"outputs": f", int64[1,{SIZE[0]},{SIZE[1]}] leak", "extra": "leak = Identity (w)"},
        "other readers",
    ),
]


def ending(
    *,
    resize: str = f"Resize <{HALF_PIXEL}> (n, , , sizes)",
    argmax: str = "ArgMax <axis=1, keepdims=0> (u)",
    cast: str = "Cast <to=2> (w)",
    batch: str = "1",
    size: tuple[int, int] = SIZE,
    extra: str = "",
    outputs: str = "",
    output: str = "mask",
) -> Graph:
    """A network of one operator, and what makes a class map of its logits."""
    body = f"""
        n = Neg (x)
        {"start = Shape <start=0, end=2> (n)" if batch == "N" else ""}
        {"sizes = Concat <axis=0> (start, size)" if batch == "N" else ""}
        u = {resize}
        w = {argmax}
        mask = {cast}
        {extra}"""
    constants = {"size": np.array(size)} if batch == "N" else {"sizes": np.array([int(batch), CLASSES, *size])}
    signature = f"""(float[{batch},{CLASSES},{GRID[0]},{GRID[1]}] x)
        => (uint8[{batch},{size[0]},{size[1]}] mask {outputs})"""
    used = {name: value for name, value in constants.items() if name in body}
    graph = graph_of(signature, body, used)
    graph.contract = dataclasses.replace(graph.contract, output=output, mask_size=size)
    return graph


def features(batch: int = 1) -> dict[str, np.ndarray]:
    """Whole numbers, of which float32 rounds nothing at a factor of four; every third pixel is a tie."""
    return {"x": np.random.default_rng(0).integers(-3, 4, (batch, CLASSES, *GRID)).astype(np.float64)}
