"""A bundle's engine graph -> its plan, and what is to be known of it."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

from segexport.bundle import CACHE, PLAN, PlanFacts
from segexport.errors import UnsupportedOnTarget
from segexport.files import sha256_of
from segexport.tensorrt.compile import Compiled, Progress, compile_plan
from segexport.tensorrt.device import gpus
from segexport.tensorrt.flavour import RTX, Flavour
from segexport.tensorrt.options import DEFAULTS, Profile, TensorRtOptions

TIMINGS = "timing.cache"

_DTYPES = {
    "mask": ("uint8",),
    "confidence": ("float", "half"),
    "logits": ("float", "half"),
    "scores": ("float", "half"),
}


def system() -> str:
    """Operating system and architecture, which a plan is for."""
    return f"{platform.system()} {platform.machine()}"


def make_plan(
    folder: Path,
    graph: Path,
    flavour: Flavour,
    options: TensorRtOptions,
    profiles: tuple[Profile, ...],
    progress: Progress,
) -> PlanFacts:
    """Compile `graph` to the folder's plan.

    Raises:
        UnsupportedOnTarget, EngineUnavailable, OutputError: see `compile_plan`.
    """
    timings = None
    if flavour is not RTX:
        timings = folder / CACHE / TIMINGS
        timings.parent.mkdir(exist_ok=True)
    made = compile_plan(
        flavour, graph, folder / PLAN, options=options, profiles=profiles, timing_cache=timings, progress=progress
    )
    _require_dtypes(made, flavour)
    gpu = gpus()[0] if flavour is not RTX else None
    return PlanFacts(
        targets=options.targets,
        compute_capability=None if gpu is None else ".".join(map(str, gpu.compute_capability)),
        gpu=None if gpu is None else gpu.name,
        system=system(),
        profiles=tuple(map(str, profiles)),
        options=_said(options),
        onnx_sha256=sha256_of(graph),
    )


def _require_dtypes(made: Compiled, flavour: Flavour) -> None:
    """TensorRT takes an output's type from what makes it, whatever the ONNX file declares."""
    for tensor in made.outputs:
        if tensor.name in _DTYPES and tensor.dtype not in _DTYPES[tensor.name]:
            wanted = " or ".join(_DTYPES[tensor.name])
            raise UnsupportedOnTarget(f"{flavour.title} gives {tensor.name} as {tensor.dtype}, not {wanted}")


def _said(options: TensorRtOptions) -> dict[str, Any]:
    """The options that differ from the defaults, but for what is recorded beside them."""
    found = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    beside = ("targets", "profiles", "class_map")
    return {name: value for name, value in found.items() if name not in beside and value != getattr(DEFAULTS, name)}
