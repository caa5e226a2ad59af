"""A bundle of this checkout for one engine, called through its Python API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from protocol import Call, Facts, Request, serve, timed

import segexport
from segexport.bundle import Bundle, open_bundle
from segexport.engines import info
from segexport.graph import macs
from segexport.inspection import multiply_accumulates


def prepare(request: Request) -> Facts:
    """`segexport build` in fp32 once, and `build --from-bundle` for every other engine and precision."""
    folder, engine = _folder(request), request["engine"]
    source = next(iter(sorted(folder.parent.glob("*-fp32/segexport.json"))), None)
    if source is not None:
        fp32 = open_bundle(source.parent)
    else:
        size = tuple(request["size"])
        fp32 = segexport.build(request["checkpoint"], folder.with_name(f"{engine}-fp32"), engine=engine, size=size)
    bundle = fp32
    if folder != fp32.folder:
        how = {"calibration": _table(request, fp32)} if request["precision"] in ("fp16", "int8") else {}
        placement = request.get("placement")
        bundle = segexport.rebuild(
            fp32, folder, engine=engine, precision=request["precision"], placement=placement, **how
        )
    return {"macs": _executed_macs(bundle), "size_bytes": bundle.size_bytes()}


def _table(request: Request, fp32: Bundle) -> Path:
    """`segexport calibrate`, once for all that need it."""
    path = Path(request["folder"]) / "calibration.json"
    if not path.exists():
        graph = segexport.graph_of(None, fp32.folder)
        found = segexport.calibrate(graph, request["data"], samples=request["samples"], seed=request["seed"])
        found.save(path)
    return path


def _executed_macs(bundle: Bundle) -> int:
    """Of the engine's own graph, where all of it can be counted, or else of the portable one it was derived from."""
    graph = ir.load(bundle.engine_graph)
    counted = all(isinstance(found, int) for _, found in macs.of_nodes(graph))
    return multiply_accumulates(graph if counted else bundle.model)


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The bundle end to end; its network is the engine's run of the graph, pre- and post-processing included."""
    net = segexport.open(_folder(request), threads=request["threads"])

    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        net.runner.stage(net.prepare(rgb))
        staged = time.perf_counter()
        net.runner.execute()
        executed = time.perf_counter()
        found = net.finish(net.runner.fetch(), rgb).mask
        end = time.perf_counter()
        return timed(end - start, executed - staged, found)

    engine = request["engine"]
    versions = {"segexport": segexport.__version__, engine: info(engine).version}
    return call, {"versions": versions, "precision": request["precision"]}


def _folder(request: Request) -> Path:
    tuned = "-tuned" if "placement" in request else ""
    return Path(request["folder"]) / f"{request['engine']}-{request['precision']}{tuned}"


if __name__ == "__main__":
    serve(open_contender, prepare)
