"""The engines, by name. Each is one file with the same surface:

- `info() -> EngineInfo`, which never fails when the package is missing
- `open_bundle(bundle, threads=None, device=None) -> Runner` (PyTorch, the reference, opens a checkpoint instead)

To add one: write its file, add its name here, and add it to the parity tests in `tests/engines`.
"""

from __future__ import annotations

import importlib
from typing import Any

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Outputs, Runner
from segexport.errors import EngineUnavailable

__all__ = ["ENGINES", "EngineInfo", "Outputs", "Runner", "choose", "info", "infos", "open_runner"]

ENGINES = {
    "openvino": "segexport.engines.openvino",
    "onnxruntime": "segexport.engines.onnxruntime",
    "pytorch": "segexport.engines.pytorch",
}
"""In order of preference for `--engine auto`."""


def infos() -> tuple[EngineInfo, ...]:
    """What is known about every engine on this machine."""
    return tuple(info(name) for name in ENGINES)


def info(name: str) -> EngineInfo:
    """What is known about one engine on this machine.

    Raises:
        EngineUnavailable: no engine of that name.
    """
    result: EngineInfo = _module(name).info()
    return result


def choose(name: str) -> EngineInfo:
    """The engine to build for: `auto` takes the first in `ENGINES` that is installed.

    Raises:
        EngineUnavailable: not installed (the message names the command that installs it), or no such engine.
    """
    if name != "auto":
        return require(name)
    candidates = [i for i in infos() if i.builds]
    installed = next((i for i in candidates if i.version is not None), None)
    if installed is None:
        raise EngineUnavailable(f"no engine is installed: {candidates[0].install}")
    return installed


def require(name: str) -> EngineInfo:
    """Facts about an engine that must be installed and must be one to build for.

    Raises:
        EngineUnavailable: it is not.
    """
    found = info(name)
    if not found.builds:
        raise EngineUnavailable(
            f"{name} is the reference, not an engine to build for: pass --engine auto, onnxruntime or openvino"
        )
    if found.version is None:
        raise EngineUnavailable(f"{name} is not installed: {found.install}")
    return found


def open_runner(bundle: Bundle, *, threads: int | None = None, device: str | None = None) -> Runner:
    """Open a bundle on the engine it was built for.

    Args:
        bundle: an opened bundle.
        threads: CPU threads; the engine's own default if None.
        device: an OpenVINO device name such as CPU or GPU.0; the one the bundle was built for if None.

    Raises:
        EngineUnavailable: the engine is not installed or has no such device.
    """
    name = bundle.manifest.engine.name
    require(name)
    runner: Runner = _module(name).open_bundle(bundle, threads=threads, device=device or bundle.manifest.engine.device)
    return runner


def _module(name: str) -> Any:
    if name not in ENGINES:
        raise EngineUnavailable(f"there is no engine '{name}': choose from auto, {', '.join(ENGINES)}")
    return importlib.import_module(ENGINES[name])
