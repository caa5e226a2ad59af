"""What both TensorRTs share as engines: facts about them, and the `Runner` of a bundle's plan."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner, check_pixels
from segexport.errors import ContractError, EngineUnavailable
from segexport.images import UInt8
from segexport.spec import Contract, Size
from segexport.tensorrt import device as devices
from segexport.tensorrt import rtx_runtime
from segexport.tensorrt.cudart import Cuda
from segexport.tensorrt.device import Gpu, gpu_named, gpus
from segexport.tensorrt.execution import Execution, MaskSize
from segexport.tensorrt.flavour import RTX, Flavour
from segexport.tensorrt.kernel import ClassMapKernel
from segexport.tensorrt.loading import deserialise, require_same, runs_on
from segexport.tensorrt.options import Shape
from segexport.tensorrt.planning import system
from segexport.tensorrt.rtx_runtime import CACHE_FILE

_DTYPES: dict[str, npt.DTypeLike] = {"mask": np.uint8, "classes": np.int32}
"""Of a contract's outputs; the others are float32."""


def info_of(flavour: Flavour) -> EngineInfo:
    """Version and GPUs, whether or not TensorRT or a GPU is there; without one, what is missing."""
    version = None
    try:
        version = str(flavour.bindings().__version__)
        missing = _missing(flavour)
    except EngineUnavailable as error:
        missing = str(error)
    return EngineInfo(
        flavour.engine,
        version,
        () if missing else tuple(gpu.device for gpu in _served(flavour)),
        flavour.install,
        builds=True,
        precisions=("fp32", "fp16", "int8"),
        missing=missing,
        builds_anywhere=flavour is RTX,
    )


def _served(flavour: Flavour) -> list[Gpu]:
    return [gpu for gpu in gpus() if flavour is not RTX or rtx_runtime.serves(flavour, gpu)]


def _missing(flavour: Flavour) -> str:
    """Why no GPU here can be computed on, and the remedy."""
    if (why := devices.missing()) or _served(flavour):
        return why
    here = ", ".join(map(str, gpus()))
    return f"{flavour.title} does not compute on {here}: it serves RTX GPUs; pass --engine tensorrt"


def open_plan(flavour: Flavour, bundle: Bundle, device: str | None) -> Runner:
    """A bundle's plan on a GPU.

    Args:
        flavour: which TensorRT.
        bundle: one that was built for it.
        device: `cuda:0` and so on; the first GPU if None or `GPU`.

    Raises:
        EngineUnavailable: TensorRT, the driver, CUDA's runtime or the GPU is missing: says which, and the remedy.
        EngineMismatch: the plan was built for another TensorRT, GPU or system: names both sides.
        BundleCorrupt: the plan is not whole.
    """
    version = str(flavour.bindings().__version__)
    if why := _missing(flavour):
        raise EngineUnavailable(
            f"{flavour.engine} cannot run here: {why}; the bundle itself is whole: it runs on {runs_on(bundle)}"
        )
    gpu = gpu_named(device, flavour.engine)
    require_same(bundle, flavour, version, gpu, system())
    contract = bundle.manifest.contract
    cuda = Cuda(gpu.index)
    cuda.use()
    runtime, engine = deserialise(bundle, flavour, gpu)
    with ExitStack() as stack:  # the execution closes the kernel, once there is one
        kernel = None
        if bundle.manifest.engine.class_map == "device":
            kernel = ClassMapKernel(gpu.compute_capability)
            stack.callback(kernel.close)
        cache = bundle.cache / CACHE_FILE
        made = Execution(flavour, runtime, engine, cuda, kernel=kernel, mask_size=mask_size_of(contract), cache=cache)
        stack.pop_all()
    return TensorRtRunner(made, contract)


class TensorRtRunner(Runner):
    """A plan on a GPU. `stage` copies the images there, `fetch` the outputs back; `device_seconds` has neither.

    It takes images of any shape that a profile serves, and then gives class maps of the images' size, where the
    contract's are of its image size, and of the logits' where the contract's are.
    """

    def __init__(self, execution: Execution, contract: Contract) -> None:
        """Args: what runs, which is closed with this; the contract."""
        self.contract = contract
        self._execution = execution

    @property
    def batch(self) -> int:
        """As every runner's, and no more than a profile serves."""
        fitting = [
            one.most[0] for one in self._execution.profiles if one.serves((one.most[0], *self.contract.image_size))
        ]
        return min(super().batch, max(fitting, default=1))

    def stage(self, images: UInt8) -> None:
        """Start copying the images to the GPU."""
        check_images(images, self._execution)
        self._execution.stage(images)

    def execute(self) -> None:
        """Run the plan, and the class map behind it."""
        self._execution.execute()
        self.device_seconds = self._execution.device_seconds

    def fetch(self) -> Outputs:
        """Copies of the outputs in the contract's types."""
        found = self._execution.fetch()
        return {name: _as_promised(name, found[name]) for name in self.contract.outputs}

    def close(self) -> None:
        """Free the GPU's memory; RTX's runtime cache is kept in the bundle's folder."""
        self._execution.close()


def check_images(images: UInt8, execution: Execution) -> None:
    """Refuse what no profile serves.

    Raises:
        ContractError: dtype is not uint8, or the shape is in no profile.
    """
    check_pixels(images)
    if images.ndim == 4 and images.shape[3] == 3:
        shape: Shape = (images.shape[0], images.shape[1], images.shape[2])
        if execution.profile_for(shape) is not None:
            return
    served = " or ".join(map(str, execution.profiles))
    raise ContractError(
        f"images have shape {images.shape}: this engine takes [N, height, width, 3] within NxHxW {served}; build with "
        "another --profile to serve more"
    )


def mask_size_of(contract: Contract) -> MaskSize:
    """How large a class map is, for an image of the contract's size and of others."""

    def size(image: Size, logits: Size) -> Size:
        assert contract.mask_size is not None, "a classifier has no class map"
        if image == contract.image_size:
            return contract.mask_size
        if contract.mask_size == contract.image_size:
            return image
        return logits if contract.mask_size == contract.grid.of(contract.size) else contract.mask_size

    return size


def _as_promised(name: str, found: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array(found, _DTYPES.get(name, np.float32))
