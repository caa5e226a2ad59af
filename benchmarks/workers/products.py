"""Large matrix products in one library: what the machine can do at best."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from protocol import Call, Facts, Request, serve

Product = Callable[[], object]
Maker = Callable[[str, int, int, int], Product]
"""Precision and the sides m, n, k of [m, k] x [k, n]: a product ready to run."""

_TOO_SLOW = 10.0
"""Seconds that one product may be expected to take."""


def open_library(request: Request) -> tuple[Call, Facts]:
    """Answers a list of shapes (m, n, k) with the best GFLOP/s of each, in each precision."""
    library, threads = request["library"], request["threads"]
    make = MAKERS[library](threads)

    def call(shapes: list[tuple[int, int, int]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for precision in request["precisions"]:
            fastest = 0.0
            for m, n, k in shapes:
                gflop = 2e-9 * m * n * k
                if fastest and gflop / fastest > _TOO_SLOW:
                    continue  # an emulated precision, far from any peak
                # A library without this precision has no figure for it.
                with contextlib.suppress(NotImplementedError, RuntimeError, AttributeError):
                    reached = gflop / _best(make(precision, m, n, k), request["tries"])
                    found.setdefault(precision, {})[f"{m}x{n}x{k}"] = reached
                    fastest = max(fastest, reached)
        return {"gflops": found}

    return call, {"versions": {library: metadata.version(library)}}


def _best(product: Product, tries: int) -> float:
    """Seconds of the fastest of `tries` products, or of as many more as fit into half a second."""
    product()
    seconds: list[float] = []
    while len(seconds) < tries or sum(seconds) < 0.5:
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _torch(threads: int) -> Maker:
    import torch

    torch.set_num_threads(threads)

    def make(precision: str, m: int, n: int, k: int) -> Product:
        if precision == "int8":
            a = torch.randint(-128, 127, (m, k), dtype=torch.int8)
            b = torch.randint(-128, 127, (k, n), dtype=torch.int8)
            return lambda: torch._int_mm(a, b)
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        x, y = torch.rand(m, k, dtype=kind), torch.rand(k, n, dtype=kind)
        out = torch.empty(m, n, dtype=kind)
        return lambda: torch.mm(x, y, out=out)

    return make


def _numpy(threads: int) -> Maker:
    def make(precision: str, m: int, n: int, k: int) -> Product:
        if precision != "fp32":
            raise NotImplementedError(f"NumPy has no BLAS product in {precision}")
        rng = np.random.default_rng(0)
        x, y = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
        out = np.empty((m, n), np.float32)
        return lambda: np.matmul(x, y, out=out)

    return make


def _openvino(threads: int) -> Maker:
    import openvino as ov
    from openvino import opset13 as ops

    core = ov.Core()

    def make(precision: str, m: int, n: int, k: int) -> Product:
        rng = np.random.default_rng(0)
        rows = ops.parameter([m, k], ov.Type.f32)
        # [n, k] as in a linear layer, so that the library may arrange its weights beforehand.
        weight: Any = ops.constant(rng.random((n, k), np.float32) - 0.5)
        left: Any = rows
        if precision == "int8":
            left = ops.fake_quantize(rows, *map(np.float32, (0, 1, 0, 1)), levels=256)
            weight = ops.fake_quantize(weight, *map(np.float32, (-0.5, 0.5, -0.5, 0.5)), levels=255)
        model = ov.Model([ops.matmul(left, weight, False, True)], [rows])
        hint = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[precision]
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
        request = core.compile_model(model, "CPU", config).create_infer_request()
        request.set_input_tensor(ov.Tensor(rng.random((m, k), np.float32)))
        return request.infer

    return make


MAKERS: dict[str, Callable[[int], Maker]] = {"torch": _torch, "numpy": _numpy, "openvino": _openvino}


if __name__ == "__main__":
    serve(open_library)
