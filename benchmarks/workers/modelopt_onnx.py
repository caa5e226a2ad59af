"""NVIDIA's modelopt on torch's own export, with its default settings: `quantize` to INT8, or AutoCast to FP16.

Both are made for TensorRT. Here the graphs that they write run on ONNX Runtime's CPU provider, which has no FP16
arithmetic: what they cost in accuracy shows, what they gain on a GPU does not.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
from calibration_images import batches
from plain_onnx import PACKAGES, call_of, export, processor_of
from protocol import Call, Facts, Request, serve

AUTOCAST_IMAGES = 4
"""It keeps every activation of every image in memory to see which are too large for FP16: 64 take more than 20 GB."""


def prepare(request: Request) -> Facts:
    """Export, then whichever of the two was asked for."""
    path = _graph(request)
    plain = path.with_name("plain.onnx")
    export(request, plain)
    (_quantise if request["variant"] == "int8" else _cast)(request, plain, path)
    return {"size_bytes": path.stat().st_size}


def _quantise(request: Request, plain: Path, path: Path) -> None:
    from modelopt.onnx.quantization import quantize

    # Its default also tries a GPU and TensorRT.
    images = {"pixel_values": _images(request)}
    quantize(str(plain), calibration_data=images, calibration_eps=["cpu"], output_path=str(path))


def _cast(request: Request, plain: Path, path: Path) -> None:
    import onnx
    from modelopt.onnx.autocast import convert_to_mixed_precision

    images = path.with_name("images.npz")
    np.savez(images, pixel_values=_images(request)[:AUTOCAST_IMAGES])
    # The input and the logits stay FP32, as processor and post-processing have them.
    onnx.save(convert_to_mixed_precision(str(plain), calibration_data=str(images), keep_io_types=True), path)


def _images(request: Request) -> np.ndarray:
    return np.concatenate(list(batches(request, processor_of(request))))


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The graph in ONNX Runtime."""
    versions = {name: metadata.version(name) for name in ("nvidia-modelopt", *PACKAGES)}
    return call_of(request, _graph(request)), {"versions": versions, "precision": request["variant"]}


def _graph(request: Request) -> Path:
    return Path(request["folder"]) / f"modelopt-{request['variant']}" / "lowered.onnx"


if __name__ == "__main__":
    serve(open_contender, prepare)
