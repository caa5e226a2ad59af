"""What TensorRT for RTX has and classic TensorRT does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segexport.errors import UnsupportedOnTarget
from segexport.tensorrt.flavour import Flavour
from segexport.tensorrt.options import TensorRtOptions

if TYPE_CHECKING:
    import tensorrt as trt


def configure(flavour: Flavour, config: trt.IBuilderConfig, options: TensorRtOptions) -> None:
    """Set target compute capabilities and compatibility.

    Raises:
        UnsupportedOnTarget: a compute capability that this version does not know.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    config.num_compute_capabilities = len(options.targets)
    for index, name in enumerate(options.targets):
        capability = trt.ComputeCapability.__members__.get(name.upper())
        if capability is None or not config.set_compute_capability(capability, index):
            known = ", ".join(one.lower() for one in trt.ComputeCapability.__members__ if one.startswith("SM"))
            raise UnsupportedOnTarget(
                f"{flavour.title} {trt.__version__} does not build for {name}: pass --target with some of {known}"
            )
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        config.set_flag(trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME)  # it has no lean runtime to put into the plan
