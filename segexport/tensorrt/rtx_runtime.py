"""What running has in TensorRT for RTX alone: its verdict on a plan, its own CUDA graphs, and its runtime cache.

An RTX plan is finished on the GPU that runs it: kernels are compiled when a shape is first seen. The runtime cache
keeps them; without it every process compiles anew.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from segexport.errors import OutputError
from segexport.files import write_file
from segexport.tensorrt.device import Gpu
from segexport.tensorrt.flavour import Flavour

if TYPE_CHECKING:
    import tensorrt as trt

CACHE_FILE = "tensorrt-rtx.cache"

_REASONS = {
    "VERSION_MISMATCH": "it is of another version",
    "UNSUPPORTED_CC": "it is for other compute capabilities",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it",
    "INSUFFICIENT_GPU_MEMORY": "out of memory: it needs more than the GPU has",
    "MALFORMED_ENGINE": "its header.size or magicTag is not a plan's",
    "CUDA_ERROR": "the NVIDIA driver or CUDA runtime is not installed whole",
}


def serves(flavour: Flavour, gpu: Gpu) -> bool:
    """Whether it computes on a GPU: one of the kinds that it can be asked to build for, or a later one.

    So not on the GPUs of servers (sm90, sm100) and of Jetson (sm87), which classic TensorRT serves.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    known = [int(name[2:]) for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    return int(gpu.target[2:]) in known or int(gpu.target[2:]) > max(known)


def why_invalid(flavour: Flavour, runtime: trt.Runtime, plan: bytes) -> str:
    """Why this GPU and version cannot run a plan, in TensorRT's own judgement; empty where it gives no reason."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    verdict, bits = runtime.get_engine_validity(plan)
    if verdict != trt.EngineValidity.INVALID:
        return ""
    members = trt.EngineInvalidityDiagnostics.__members__
    found = [_REASONS.get(name, name) for name, member in members.items() if int(bits) & int(member)]
    return " and ".join(found)


class RuntimeCache:
    """The kernels that were compiled for this GPU, in a file beside the bundle."""

    def __init__(self, cache: trt.IRuntimeCache, path: Path) -> None:
        """Args: what TensorRT fills; the file, read if it is there. One of another GPU or version is not taken."""
        self._cache = cache
        self._path = path
        self._had = b""
        with contextlib.suppress(OSError):
            stored = path.read_bytes()
            if cache.deserialize(stored):
                self._had = stored

    def save(self) -> None:
        """Write what was compiled since, whole or not at all; a folder that cannot be written is left alone."""
        made = self._cache.serialize()
        content = b"" if made is None else bytes(memoryview(made))
        if content and content != self._had:
            with contextlib.suppress(OutputError):
                write_file(self._path, content)


def create_context(
    flavour: Flavour, engine: trt.ICudaEngine, cache: Path | None
) -> tuple[trt.IExecutionContext | None, RuntimeCache | None]:
    """An execution context, and its runtime cache where a file for one is named.

    TensorRT for RTX captures its launches as CUDA graphs itself: it alone knows when a shape's own kernels have taken
    the place of those that serve any shape, and a graph captured from outside could hold the latter for good. Kernels
    for a new shape are compiled at once (EAGER), and not while others run in their place, so that results and times
    of a shape are the same from its first call on.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    kept = None
    if cache is not None:
        made = config.create_runtime_cache()
        kept = RuntimeCache(made, cache)
        if not config.set_runtime_cache(made):
            kept = None
    return engine.create_execution_context(runtime_config=config), kept
