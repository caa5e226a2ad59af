"""segexport: SegFormer from a checkpoint to an engine on an edge device, with proof that nothing was lost.

The Python API mirrors the commands:

    checkpoint = segexport.load("path/to/checkpoint")           # or a hub id, or an alias such as "b0"
    graph = segexport.export(checkpoint, size=(512, 512))       # an ONNX graph in memory, to inspect or save
    bundle = segexport.build(checkpoint, "bundles/b0", engine="onnxruntime", size=(512, 512))
    with segexport.open("bundles/b0") as net:
        mask = net.run("street.jpg").mask                       # uint8 [H, W], class ids
        net.run(frame, channel_order="bgr").save("out/street")  # an OpenCV frame; its mask and overlay as files
    result = segexport.benchmark(["bundles/b0"], "data/val")    # the table, as data
    segexport.finetune("data", "checkpoint", model="mit-b0")    # your own images
    found = segexport.evaluate(["checkpoint"], "data")          # what the class maps are worth
    segexport.examine("checkpoint", data="data")                # known traps

Every error is a SegexportError (`segexport.errors`). Nothing here imports torch unless it is trained or compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segexport.errors import (
    BundleCorrupt,
    CheckpointError,
    ContractError,
    DataError,
    EngineMismatch,
    EngineUnavailable,
    OutputError,
    PrecisionError,
    SegexportError,
    SegexportWarning,
    SelftestFailed,
    UnsupportedOnTarget,
)

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleCorrupt",
    "CheckpointError",
    "ContractError",
    "DataError",
    "EngineMismatch",
    "EngineUnavailable",
    "OutputError",
    "PrecisionError",
    "Prediction",
    "SegexportError",
    "SegexportWarning",
    "Segmenter",
    "SelftestFailed",
    "UnsupportedOnTarget",
    "__version__",
    "benchmark",
    "build",
    "calibrate",
    "evaluate",
    "examine",
    "explain",
    "export",
    "finetune",
    "graph_of",
    "load",
    "open",
    "rebuild",
    "selftest",
    "tune",
]

if TYPE_CHECKING:
    from segexport.bench import benchmark
    from segexport.bench.explain import explain
    from segexport.builder import build, calibrate, export, graph_of
    from segexport.bundle import Bundle
    from segexport.checkpoint import load
    from segexport.doctor import examine
    from segexport.evaluation.run import evaluate
    from segexport.finetuning.run import finetune
    from segexport.golden import selftest
    from segexport.prediction import Prediction
    from segexport.rebuilder import rebuild
    from segexport.segmenter import Segmenter
    from segexport.segmenter import open_segmenter as open
    from segexport.tuning import tune

_WHERE = {
    "benchmark": ("segexport.bench", "benchmark"),
    "explain": ("segexport.bench.explain", "explain"),
    "evaluate": ("segexport.evaluation.run", "evaluate"),
    "examine": ("segexport.doctor", "examine"),
    "finetune": ("segexport.finetuning.run", "finetune"),
    "build": ("segexport.builder", "build"),
    "calibrate": ("segexport.builder", "calibrate"),
    "rebuild": ("segexport.rebuilder", "rebuild"),
    "load": ("segexport.checkpoint", "load"),
    "graph_of": ("segexport.builder", "graph_of"),
    "export": ("segexport.builder", "export"),
    "selftest": ("segexport.golden", "selftest"),
    "tune": ("segexport.tuning", "tune"),
    "open": ("segexport.segmenter", "open_segmenter"),
    "Bundle": ("segexport.bundle", "Bundle"),
    "Prediction": ("segexport.prediction", "Prediction"),
    "Segmenter": ("segexport.segmenter", "Segmenter"),
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that `import segexport` stays instant."""
    if name not in _WHERE:
        raise AttributeError(f"module 'segexport' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
