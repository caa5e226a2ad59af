"""TensorRT for RTX: built anywhere, run on RTX GPUs."""

from __future__ import annotations

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Runner
from segexport.engines.tensorrt_runner import info_of, open_plan
from segexport.tensorrt.flavour import RTX


def info() -> EngineInfo:
    """Version and GPUs, whether or not TensorRT or a GPU is there."""
    return info_of(RTX)


def open_bundle(bundle: Bundle, *, threads: int | None, device: str | None) -> Runner:
    """The bundle's plan on a GPU; it has no use for `threads`.

    Raises:
        EngineUnavailable, EngineMismatch, BundleCorrupt: see `segexport.engines.tensorrt_runner.open_plan`.
    """
    return open_plan(RTX, bundle, device)
