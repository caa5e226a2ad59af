"""ONNX Runtime on the CPU: runs a bundle's graph as it is."""

from __future__ import annotations

from collections.abc import Sequence
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
from segexport.spec import IMAGE, LOGITS, Contract

NAME = "onnxruntime"
INSTALL = 'pip install "segexport[cpu]"'
_PROVIDER = "CPUExecutionProvider"
DISABLED = ("SkipLayerNormFusion",)
"""Its kernel is slower than the two it replaces: docs/rewrites.md."""
_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(int32)": np.int32}


def info() -> EngineInfo:
    """Version and devices, whether or not the package is installed."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            version = metadata.version(package)
            return EngineInfo(NAME, version, ("CPU",), INSTALL, builds=True, precisions=("fp32", "fp16", "int8"))
        except metadata.PackageNotFoundError:
            continue
    return EngineInfo(NAME, None, (), INSTALL, builds=True)


def open_bundle(bundle: Bundle, *, threads: int | None, device: str | None) -> Runner:
    """A session of the CPU provider.

    Raises:
        EngineUnavailable: another device than CPU was asked for.
    """
    if device not in (None, "CPU"):
        raise EngineUnavailable(f"onnxruntime has no device {device} here: pass --device CPU")
    on_host = bundle.manifest.engine.class_map == "host"
    return OnnxRuntimeRunner(session(bundle.engine_graph, threads), bundle.manifest.contract, on_host, threads)


def session(path: Path, threads: int | None, disabled: Sequence[str] = DISABLED, *, as_written: bool = False) -> Any:
    """An inference session of the CPU provider, without the `disabled` optimizers; `as_written`, without any."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only
    # Threads that wait for the next call by spinning would take the class map's cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_pattern = False  # one block planned for everything is larger than what the arena reuses
    if threads is not None:
        options.intra_op_num_threads = threads
    return ort.InferenceSession(path, options, providers=[_PROVIDER], disabled_optimizers=list(disabled))


class OnnxRuntimeRunner(Runner):
    """One inference session. It reads the images where they are, and writes into buffers kept between calls.

    Logits that a caller keeps are the exception: the next call writes into others.
    """

    def __init__(self, session: Any, contract: Contract, on_host: bool, threads: int | None) -> None:
        """Args: a `session`; the contract; whether its outputs are logits, of which `threads` make class maps."""
        self.contract = contract
        self._session = session
        self._binding = self._session.io_binding()
        self._on_host = on_host
        self._threads = threads or machine.cores()
        self._images: UInt8 | None = None
        self._outputs: Outputs = {}
        self._kept = False

    def stage(self, images: UInt8) -> None:
        """Bind the images' own memory, and outputs for as many."""
        check_images(images, self.contract)
        self._images = np.ascontiguousarray(images)  # kept alive: the binding only points at it
        self._binding.bind_input(IMAGE, "cpu", 0, np.uint8, self._images.shape, self._images.ctypes.data)
        if self._kept or not self._outputs or len(next(iter(self._outputs.values()))) != len(images):
            self._bind_outputs(len(images))

    def execute(self) -> None:
        """Run the session."""
        self._session.run_with_iobinding(self._binding)

    def fetch(self) -> Outputs:
        """Class maps made of the session's logits, or copies of its outputs, which the next call overwrites."""
        if self._on_host:
            assert self.contract.mask_size is not None
            return {"mask": native.class_map(self._outputs[LOGITS], self.contract.mask_size, self._threads)}
        return {name: array.copy() for name, array in self._outputs.items()}

    def keep_logits(self) -> npt.NDArray[np.float32] | None:
        """The session's own output, where class maps are made of it on the host."""
        self._kept = self._on_host
        return self._outputs[LOGITS] if self._on_host else None

    def _bind_outputs(self, count: int) -> None:
        self._kept = False
        for output in self._session.get_outputs():
            array = np.empty((count, *output.shape[1:]), _DTYPES[output.type])
            self._binding.bind_output(output.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            self._outputs[output.name] = array
