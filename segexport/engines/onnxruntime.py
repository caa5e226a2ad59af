"""ONNX Runtime on the CPU: runs `model.onnx` as it is."""

from __future__ import annotations

from importlib import metadata

import numpy as np

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner, check_images
from segexport.errors import EngineUnavailable
from segexport.graph.preprocess import IMAGE
from segexport.images import UInt8

NAME = "onnxruntime"
INSTALL = 'pip install "segexport[cpu]"'
_PROVIDER = "CPUExecutionProvider"


def info() -> EngineInfo:
    """Version and devices, whether or not the package is installed."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return EngineInfo(NAME, metadata.version(package), ("CPU",), INSTALL, builds=True)
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
    return OnnxRuntimeRunner(bundle, threads)


class OnnxRuntimeRunner(Runner):
    """One inference session; inputs and outputs stay in host memory."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        import onnxruntime as ort

        self.contract = bundle.manifest.contract
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(bundle.model, options, providers=[_PROVIDER])
        self._images: UInt8 | None = None
        self._results: list[np.ndarray] = []

    def stage(self, images: UInt8) -> None:
        """Keep the images; the CPU provider reads them where they are."""
        check_images(images, self.contract)
        self._images = np.ascontiguousarray(images)

    def execute(self) -> None:
        """Run the session."""
        self._results = self._session.run(list(self.contract.outputs), {IMAGE: self._images})

    def fetch(self) -> Outputs:
        """The session's own output arrays, fresh for every call."""
        return dict(zip(self.contract.outputs, self._results, strict=True))
