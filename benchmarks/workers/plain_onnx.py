"""torch's own export, onnxslim and ONNX Runtime: image processor before, torch's interpolate and argmax behind."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import Call, Facts, Request, serve, timed
from transformers import AutoImageProcessor, SegformerForSemanticSegmentation

PACKAGES = ("torch", "transformers", "onnxscript", "onnxslim", "onnxruntime")


class Logits(torch.nn.Module):
    """The model with its logits as the only result."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes, h / 4, w / 4] of normalised images [N, 3, h, w]."""
        return self.model(pixel_values=pixel_values).logits


def export(request: Request, path: Path) -> None:
    """Export at the case's size and simplify."""
    import onnx
    import onnxslim

    model = SegformerForSemanticSegmentation.from_pretrained(request["checkpoint"]).eval()
    program = torch.onnx.export(
        Logits(model), (torch.zeros(1, 3, *request["size"]),), input_names=["pixel_values"], dynamo=True, verbose=False
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnxslim.slim(program.model_proto), path)


def processor_of(request: Request) -> Any:
    """The checkpoint's, which need not resize."""
    return AutoImageProcessor.from_pretrained(request["checkpoint"], do_resize=False)


def call_of(request: Request, path: Path) -> Call:
    """A session of the CPU provider with its default settings and the benchmark's number of threads."""
    import onnxruntime as ort

    torch.set_num_threads(request["threads"])
    processor = processor_of(request)
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        pixels = processor(images=rgb, return_tensors="np")["pixel_values"]
        staged = time.perf_counter()
        (logits,) = session.run(None, {"pixel_values": pixels})
        executed = time.perf_counter()
        full = torch.nn.functional.interpolate(
            torch.from_numpy(logits), size=rgb.shape[:2], mode="bilinear", align_corners=False
        )
        found = full.argmax(1)[0]
        end = time.perf_counter()
        return timed(end - start, executed - staged, found.numpy())

    return call


def prepare(request: Request) -> Facts:
    """The export, whose multiply-accumulates are all peers'."""
    path = _graph(request)
    export(request, path)
    return {"graph": str(path), "size_bytes": path.stat().st_size}


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The export in ONNX Runtime."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return call_of(request, _graph(request)), {"versions": versions, "precision": "fp32"}


def _graph(request: Request) -> Path:
    return Path(request["folder"]) / "plain.onnx"


if __name__ == "__main__":
    serve(open_contender, prepare)
