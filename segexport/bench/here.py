"""Whether a bundle can run on this machine, without running it."""

from __future__ import annotations

from segexport.bundle import Bundle
from segexport.engines import require_for
from segexport.errors import SegexportError
from segexport.tensorrt.device import gpu_named
from segexport.tensorrt.flavour import FLAVOURS
from segexport.tensorrt.loading import require_same, runs_on
from segexport.tensorrt.planning import system


def why_not(bundle: Bundle) -> str | None:
    """Why a bundle cannot run on this machine, and the remedy; None where nothing speaks against it.

    Asks for its engine, a device, the compiled part of segexport, and whether its plan is for this GPU, TensorRT and
    system. No engine is opened; that the files are those that were built, `open_bundle` has seen to.
    """
    facts = bundle.manifest.engine
    try:
        found = require_for(bundle)
        if not found.devices:
            whole = f"; the bundle itself is whole: it runs on {runs_on(bundle)}" if facts.plan is not None else ""
            return f"{facts.name} cannot run here: {found.missing or found.install}{whole}"
        if facts.name in FLAVOURS:
            gpu = gpu_named(facts.device, facts.name)
            require_same(bundle, FLAVOURS[facts.name], found.version or "", gpu, system())
    except SegexportError as error:
        return str(error)
    return None
