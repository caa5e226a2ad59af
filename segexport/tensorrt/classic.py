"""What classic TensorRT has and TensorRT for RTX has not, or ignores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segexport.errors import EngineUnavailable
from segexport.tensorrt.flavour import Flavour, release
from segexport.tensorrt.options import TensorRtOptions

if TYPE_CHECKING:
    import tensorrt as trt


def configure(
    flavour: Flavour,
    builder: trt.Builder,
    config: trt.IBuilderConfig,
    options: TensorRtOptions,
    timings: bytes,
) -> None:
    """Set compatibility, weight streaming, DLA, and the timings that an earlier build kept.

    Raises:
        EngineUnavailable: no such DLA core.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatibility == "ampere-plus":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    since_10_7 = release(trt.__version__) >= (10, 7)  # `options` refuses it before
    if options.hardware_compatibility == "same-compute-capability" and since_10_7:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    if options.weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    if options.dla is not None:
        if options.dla >= builder.num_DLA_cores:
            raise EngineUnavailable(
                f"there is no DLA core {options.dla} here ({builder.num_DLA_cores} in all): leave out --dla"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)  # attention and norms, which the DLA does not have
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # what the inspector can say
    config.set_timing_cache(config.create_timing_cache(timings), ignore_mismatch=False)


def timing_cache(config: trt.IBuilderConfig) -> bytes:
    """What the builder measured, to build again without measuring."""
    cache = config.get_timing_cache()
    kept = None if cache is None else cache.serialize()
    return b"" if kept is None else bytes(kept)
