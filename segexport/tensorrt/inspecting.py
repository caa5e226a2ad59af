"""A plan of classic TensorRT, asked of its EngineInspector where its GPU is at hand. Not run: no GPU was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from segexport.errors import DataError
from segexport.tensorrt import device
from segexport.tensorrt.flavour import CLASSIC, logger
from segexport.tensorrt.inspector import from_inspector
from segexport.tensorrt.plan_file import classic_version
from segexport.tensorrt.plan_report import PlanReport


def ask_inspector(path: Path) -> PlanReport | None:
    """What EngineInspector says of a plan of classic TensorRT; None for other files, and where it cannot run here.

    Raises:
        DataError: TensorRT does not take the plan, such as one for another GPU or version.
    """
    version = classic_version(path)
    if version is None or CLASSIC.version() is None or device.missing():
        return None
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = CLASSIC.bindings()
    log, messages = logger(CLASSIC)
    messages.drain()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        said = " ".join((messages.drain() or ["it gives no reason"])[0].split())
        raise DataError(f"{path} is a plan that TensorRT {trt.__version__} does not take here ({said}): build it again")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    found = from_inspector(text, file=str(path))
    programs = tuple(
        dataclasses.replace(one, scratch_bytes=engine.get_device_memory_size_for_profile_v2(one.profile))
        for one in found.programs
    )
    return dataclasses.replace(found, size_bytes=path.stat().st_size, version=version, programs=programs)
