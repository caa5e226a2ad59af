"""ONNX Runtime's `quantize_static` of torch's own export, with its default settings: Q/DQ pairs, min-max."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from calibration_images import batches
from onnxruntime.quantization import CalibrationDataReader
from plain_onnx import PACKAGES, call_of, export, processor_of
from protocol import Call, Facts, Request, serve


class Reader(CalibrationDataReader):
    """Hands out the calibration images one by one, and None behind the last."""

    def __init__(self, images: Iterator[np.ndarray]) -> None:
        self._images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image by the name of the graph's input."""
        pixels = next(self._images, None)
        return None if pixels is None else {"pixel_values": pixels}


def prepare(request: Request) -> Facts:
    """Export, prepare as its documentation advises, quantise."""
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = _graph(request)
    plain, prepared = path.with_name("plain.onnx"), path.with_name("prepared.onnx")
    export(request, plain)
    quant_pre_process(plain, prepared)
    quantize_static(prepared, path, Reader(batches(request, processor_of(request))))
    return {"size_bytes": path.stat().st_size}


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The quantised graph in ONNX Runtime."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return call_of(request, _graph(request)), {"versions": versions, "precision": "int8"}


def _graph(request: Request) -> Path:
    return Path(request["folder"]) / "ort-quantize" / "int8.onnx"


if __name__ == "__main__":
    serve(open_contender, prepare)
