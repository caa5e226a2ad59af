"""OpenVINO: compiles a bundle's graph for one of its devices, in exactly the precision that was asked for."""

from __future__ import annotations

import functools
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport import machine, native
from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner, check_images
from segexport.errors import EngineUnavailable
from segexport.images import UInt8
from segexport.spec import IMAGE, LOGITS, Contract, Precision

NAME = "openvino"
INSTALL = 'pip install "segexport[openvino]"'
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""What is not in INT8 is in FP32."""

_OLDEST = (2026, 3)
"""Versions from 2024.4 to 2026.2.1 ended the process on some of our graphs; seen on an AMD EPYC."""


def info() -> EngineInfo:
    """Version and devices, whether or not the package is installed."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return EngineInfo(NAME, None, (), INSTALL, builds=True)
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        missing = f"OpenVINO {version} crashes on some of segexport's graphs: pip install --upgrade openvino"
        return EngineInfo(NAME, version, (), INSTALL, builds=True, missing=missing)
    core = shared_core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precisions: tuple[Precision, ...] = ("fp32", *(p for p in ("bf16", "fp16", "int8") if p.upper() in able))
    return EngineInfo(NAME, version, tuple(core.available_devices), INSTALL, builds=True, precisions=precisions)


@functools.cache
def shared_core() -> Any:
    """The process's only one.

    OpenVINO 2026.4 gives the main thread a stack for signals with each CPU plugin and takes it away with it; of two
    plugins, the first to go leaves the second one's to be followed by its own, which is gone. The next signal that
    Python handles, such as Ctrl-C, then ends the process.
    """
    import openvino as ov

    return ov.Core()


def open_bundle(bundle: Bundle, *, threads: int | None, device: str | None) -> Runner:
    """A compiled model with one infer request.

    Raises:
        EngineUnavailable: OpenVINO has no such device here, or it does not compute in the bundle's precision.
    """
    facts = bundle.manifest
    compiled = compile_graph(bundle.engine_graph, threads, device or "CPU", facts.precision, _cache(bundle))
    return OpenVinoRunner(compiled, facts.contract, facts.engine.class_map == "host", threads)


def compile_graph(
    path: Path,
    threads: int | None,
    device: str = "CPU",
    precision: Precision = "fp32",
    cache: str | None = None,
) -> Any:
    """A model compiled for one of OpenVINO's devices, in exactly this precision; kept in `cache` for the next time.

    Raises:
        EngineUnavailable: OpenVINO has no such device here, or it does not compute in `precision`.
    """
    core = shared_core()
    if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
        raise EngineUnavailable(
            f"OpenVINO has no device {device} here: pass --device with one of {', '.join(core.available_devices)}"
        )
    wanted = _HINTS[precision]
    config: dict[str, object] = {
        # One image at a time, all threads on it.
        "PERFORMANCE_HINT": "LATENCY",
        "PERFORMANCE_HINT_NUM_REQUESTS": 1,
        # OpenVINO computes in bf16 by itself on CPUs that have it: only where asked for.
        "INFERENCE_PRECISION_HINT": wanted,
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
        # Pinned threads of every model compiled in a process share the first cores, whatever others are idle.
        config["ENABLE_CPU_PINNING"] = threads >= machine.cores()
    if cache is not None:
        config["CACHE_DIR"] = cache
    compiled = core.compile_model(path, device, config)
    found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if found != wanted:
        raise EngineUnavailable(f"OpenVINO computes in {found} on {device}, not {wanted}: pass another --device")
    return compiled


class OpenVinoRunner(Runner):
    """One infer request, tuned for latency."""

    def __init__(self, compiled: Any, contract: Contract, on_host: bool, threads: int | None) -> None:
        """Args: a compiled model; the contract; whether its outputs are logits, of which `threads` make class maps."""
        self.contract = contract
        self._request = compiled.create_infer_request()
        self._on_host = on_host
        self._threads = threads or machine.cores()
        self._images: UInt8 | None = None
        self._kept = False

    def stage(self, images: UInt8) -> None:
        """Share the images' memory with the request."""
        import openvino as ov

        check_images(images, self.contract)
        # Kept alive, because the tensor only points at it; it refuses read-only arrays, such as Pillow's.
        self._images = np.require(images, requirements=["C", "W"])
        self._request.set_tensor(IMAGE, ov.Tensor(self._images, shared_memory=True))
        if self._kept:  # by whoever asked for the logits: the next ones go elsewhere
            before = self._request.get_tensor(LOGITS)
            after = ov.Tensor(before.get_element_type(), ov.Shape([len(images), *before.get_shape()[1:]]))
            self._request.set_tensor(LOGITS, after)
            self._kept = False

    def execute(self) -> None:
        """Run the request."""
        self._request.infer()

    def fetch(self) -> Outputs:
        """Class maps made of the request's logits, or copies of its outputs, which the next call overwrites."""
        if self._on_host:
            logits = self._request.get_tensor(LOGITS).data
            assert self.contract.mask_size is not None
            return {"mask": native.class_map(logits, self.contract.mask_size, self._threads)}
        return {name: np.array(self._request.get_tensor(name).data) for name in self.contract.outputs}

    def keep_logits(self) -> npt.NDArray[np.float32] | None:
        """The request's own output, where class maps are made of it on the host."""
        if not self._on_host:
            return None
        self._kept = True
        found: npt.NDArray[np.float32] = self._request.get_tensor(LOGITS).data
        return found


def _cache(bundle: Bundle) -> str | None:
    """Where OpenVINO keeps the compiled model for the next time, if that can be written."""
    try:
        bundle.cache.mkdir(exist_ok=True)
    except OSError:
        return None
    return str(bundle.cache) if os.access(bundle.cache, os.W_OK) else None
