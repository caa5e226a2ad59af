"""A TensorRT engine's graph on the CPU, where there is no GPU to run the engine: the same graph, rounded as it rounds.

So a build without a GPU still shows that the graph it compiled computes what PyTorch does. What it does not show is
what TensorRT's kernels make of it: products are summed in FP32 here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from segexport import machine, native
from segexport.bundle import Bundle
from segexport.engines import onnxruntime
from segexport.engines.base import Outputs, Runner, check_images
from segexport.errors import EngineUnavailable
from segexport.graph.graph import open_graph
from segexport.images import UInt8
from segexport.precision.emulate import emulate_fp16
from segexport.spec import IMAGE, Contract


def rehearse(bundle: Bundle, *, threads: int | None = None) -> Runner:
    """A bundle's engine graph on ONNX Runtime's CPU provider, class map included.

    Raises:
        EngineUnavailable: ONNX Runtime, or the compiled part of segexport, is not installed.
    """
    if onnxruntime.info().version is None:
        raise EngineUnavailable(
            f"without a GPU, the graph of {bundle.manifest.engine.name} is checked with ONNX Runtime, which is not "
            f"installed: {onnxruntime.INSTALL}"
        )
    on_device = bundle.manifest.engine.class_map == "device"
    if on_device and not native.available():
        raise EngineUnavailable(f"{native.MISSING}, or build with --class-map graph")
    graph = open_graph(bundle.engine_graph)
    half = bundle.manifest.precision in ("fp16", "int8")
    if half:
        emulate_fp16(graph)
    with tempfile.TemporaryDirectory(prefix="segexport-") as folder:
        path = Path(folder) / "rehearsal.onnx"
        graph.save(path)
        session = onnxruntime.session(path, threads, as_written=bundle.manifest.precision == "int8")
    return _Rehearsal(session, bundle.manifest.contract, on_device, half, threads or machine.cores())


class _Rehearsal(Runner):
    def __init__(self, session: Any, contract: Contract, on_device: bool, half: bool, threads: int) -> None:
        self.contract = contract
        self._session = session
        self._on_device = on_device
        self._half = half
        self._threads = threads
        self._images: UInt8 | None = None
        self._outputs: Outputs = {}

    def stage(self, images: UInt8) -> None:
        check_images(images, self.contract)
        self._images = images

    def execute(self) -> None:
        names = [output.name for output in self._session.get_outputs()]
        found = dict(zip(names, self._session.run(names, {IMAGE: self._images}), strict=True))
        if self._on_device:
            logits = found["logits"]
            if self._half:  # as the engine hands them over
                logits = logits.astype(np.float16).astype(np.float32)
            assert self.contract.mask_size is not None
            last = np.ascontiguousarray(logits.transpose(0, 2, 3, 1))
            found = {"mask": native.class_map(last, self.contract.mask_size, self._threads)}
        self._outputs = found

    def fetch(self) -> Outputs:
        return self._outputs
