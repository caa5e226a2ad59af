"""OpenVINO: compiles `model.onnx` for one of its devices, in exactly the precision of the graph."""

from __future__ import annotations

from importlib import metadata

import numpy as np

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner, check_images
from segexport.errors import EngineUnavailable
from segexport.graph.preprocess import IMAGE
from segexport.images import UInt8

NAME = "openvino"
INSTALL = 'pip install "segexport[openvino]"'


def info() -> EngineInfo:
    """Version and devices, whether or not the package is installed."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return EngineInfo(NAME, None, (), INSTALL, builds=True)
    import openvino as ov

    return EngineInfo(NAME, version, tuple(ov.Core().available_devices), INSTALL, builds=True)


def open_bundle(bundle: Bundle, *, threads: int | None, device: str | None) -> Runner:
    """A compiled model with one infer request.

    Raises:
        EngineUnavailable: OpenVINO has no such device here.
    """
    return OpenVinoRunner(bundle, threads, device or "CPU")


class OpenVinoRunner(Runner):
    """One infer request, tuned for latency."""

    def __init__(self, bundle: Bundle, threads: int | None, device: str) -> None:
        import openvino as ov

        self.contract = bundle.manifest.contract
        core = ov.Core()
        if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
            raise EngineUnavailable(
                f"OpenVINO has no device {device} here: pass --device with one of {', '.join(core.available_devices)}"
            )
        # OpenVINO computes in bf16 by itself on CPUs that have it: never quietly, so f32 is pinned.
        config: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(bundle.model, device, config).create_infer_request()
        self._images: UInt8 | None = None

    def stage(self, images: UInt8) -> None:
        """Share the images' memory with the request."""
        import openvino as ov

        check_images(images, self.contract)
        # Kept alive, because the tensor only points at it; it refuses read-only arrays, such as Pillow's.
        self._images = np.require(images, requirements=["C", "W"])
        self._request.set_tensor(IMAGE, ov.Tensor(self._images, shared_memory=True))

    def execute(self) -> None:
        """Run the request."""
        self._request.infer()

    def fetch(self) -> Outputs:
        """Copies of the request's outputs, which it overwrites at the next call."""
        return {name: np.array(self._request.get_tensor(name).data) for name in self.contract.outputs}
