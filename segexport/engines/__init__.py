"""The engines, by name. Each is a module, or an object in one, with the same surface:

- `info() -> EngineInfo`, which never fails when the package or the device is missing
- `open_bundle(bundle, threads=None, device=None) -> Runner` (PyTorch, the reference, opens a checkpoint instead)

To add one: write its file, add its name here, and add it to the parity tests in `tests/engines`.
"""

from __future__ import annotations

import pkgutil
from typing import Any

from segexport import machine, native
from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner
from segexport.errors import EngineUnavailable
from segexport.spec import Precision
from segexport.tensorrt.device import gpu_named, gpus

__all__ = [
    "ENGINES",
    "ON_GPU",
    "EngineInfo",
    "Outputs",
    "Runner",
    "choose",
    "hardware",
    "info",
    "infos",
    "open_runner",
    "require_for",
    "why_chosen",
]

ENGINES = {
    "tensorrt": "segexport.engines.tensorrt",
    "tensorrt-rtx": "segexport.engines.tensorrt_rtx",
    "onnxruntime-tensorrt": "segexport.engines.onnxruntime_gpu:TENSORRT",
    "onnxruntime-tensorrt-rtx": "segexport.engines.onnxruntime_gpu:TENSORRT_RTX",
    "onnxruntime-cuda": "segexport.engines.onnxruntime_gpu:CUDA",
    "openvino": "segexport.engines.openvino",
    "onnxruntime": "segexport.engines.onnxruntime",
    "pytorch": "segexport.engines.pytorch",
}
"""In order of preference for `--engine auto`; each as `pkgutil.resolve_name` reads it."""

ON_GPU = ("tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx", "onnxruntime-cuda")
"""Those that compute on an NVIDIA GPU only."""

_FIRST_CHOICE = "openvino"
"""What to install where there is nothing."""

_REMEDIES: dict[Precision, str] = {
    "fp32": "pass another --engine",
    "fp16": "pass --engine onnxruntime, which rounds as FP16 does and so tells its accuracy before a GPU is at hand",
    "int8": "pass --engine onnxruntime or --precision fp32",
    "bf16": "it takes --engine openvino on a CPU with AMX or AVX512_BF16 (segexport engines lists what there is); "
    "pass --precision fp32",
}


def infos() -> tuple[EngineInfo, ...]:
    """What is known about every engine on this machine."""
    return tuple(info(name) for name in ENGINES)


def info(name: str) -> EngineInfo:
    """What is known about one engine on this machine.

    Raises:
        EngineUnavailable: no engine of that name.
    """
    result: EngineInfo = _engine(name).info()
    return result


def choose(name: str, precision: Precision = "fp32") -> EngineInfo:
    """The engine to build for: `auto` takes the first in `ENGINES` that can run here and computes in `precision`.

    One that is named need not run here if it builds without a device.

    Raises:
        EngineUnavailable: not installed (the message names the command that installs it), its device missing, no such
            engine, or none that computes in `precision` on this machine.
    """
    if name != "auto":
        found = require(name, precision)
        if not found.devices and not found.builds_anywhere:
            raise EngineUnavailable(f"{name} builds on the machine that it runs on, and cannot here: {found.missing}")
        return found
    candidates = [i for i in infos() if i.builds and i.devices]
    if not candidates:
        raise EngineUnavailable(f"no engine is installed that can run here: {info(_FIRST_CHOICE).install}")
    able = next((i for i in candidates if precision in i.precisions), None)
    if able is None:
        raise EngineUnavailable(f"no engine computes in {precision} on this machine: {_REMEDIES[precision]}")
    return able


def why_chosen(name: str, precision: Precision) -> str:
    """Why `auto` takes an engine, said to who did not name one."""
    others = [i.name for i in infos() if i.builds and i.devices and precision in i.precisions and i.name != name]
    if not others:
        return f"the only engine here that computes in {precision}"
    return f"preferred to {' and '.join(others)}; segexport bench measures what is faster here"


def require(name: str, precision: Precision) -> EngineInfo:
    """Facts about an engine that must be installed, be one to build for, and compute in `precision`.

    Raises:
        EngineUnavailable: it is not, or does not.
    """
    found = info(name)
    if not found.builds:
        raise EngineUnavailable(
            f"{name} is the reference, not an engine to build for: pass --engine auto, onnxruntime or openvino"
        )
    if found.version is None:
        raise EngineUnavailable(found.missing or f"{name} is not installed: {found.install}")
    if precision not in found.precisions:
        raise EngineUnavailable(f"{name} does not compute in {precision} on this machine: {_REMEDIES[precision]}")
    return found


def open_runner(bundle: Bundle, *, threads: int | None = None, device: str | None = None) -> Runner:
    """Open a bundle on the engine it was built for.

    Args:
        bundle: an opened bundle.
        threads: CPU threads; the engine's own default if None.
        device: an OpenVINO device name such as CPU or GPU.0, or an NVIDIA GPU such as cuda:0; the one the bundle was
            built for if None.

    Raises:
        EngineMismatch: a plan that was built for another machine.
        EngineUnavailable: the engine is not installed, has no such device or does not compute in the bundle's
            precision here; or the bundle's class maps are made by the compiled part of segexport, which is missing.
    """
    require_for(bundle)
    facts = bundle.manifest.engine
    runner: Runner = _engine(facts.name).open_bundle(bundle, threads=threads, device=device or facts.device)
    return runner


def require_for(bundle: Bundle) -> EngineInfo:
    """Facts about a bundle's engine, which must be installed; whether there is a device for it, they tell.

    Raises:
        EngineUnavailable: not installed, it does not compute in the bundle's precision here, or the bundle's class maps
            are made by the compiled part of segexport, which is missing.
    """
    facts = bundle.manifest.engine
    found = require(facts.name, bundle.manifest.precision)
    if facts.class_map == "host" and not native.available():
        raise EngineUnavailable(
            f"{bundle.folder} was built where segexport's compiled part makes the class maps: {native.MISSING}, or "
            "build for this machine with segexport build --from-bundle"
        )
    return found


def hardware(name: str, device: str | None = None) -> str:
    """The maker's name of what an engine computes on here: a GPU, or the processor; empty where there is no GPU."""
    if name not in ON_GPU:
        return machine.processor()
    found = gpus()
    return gpu_named(device, name).name if found else ""


def _engine(name: str) -> Any:
    if name not in ENGINES:
        raise EngineUnavailable(f"there is no engine '{name}': choose from auto, {', '.join(ENGINES)}")
    return pkgutil.resolve_name(ENGINES[name])
