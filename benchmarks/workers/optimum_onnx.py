"""optimum-onnx: `ORTModelForSemanticSegmentation`, with the image processor before and its post-processing behind."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import Call, Facts, Request, serve, timed


def prepare(request: Request) -> Facts:
    """Export as its documentation says, with its defaults: every dimension open."""
    from optimum.onnxruntime import ORTModelForSemanticSegmentation

    ORTModelForSemanticSegmentation.from_pretrained(request["checkpoint"], export=True).save_pretrained(
        _folder(request)
    )
    return {"size_bytes": (_folder(request) / "model.onnx").stat().st_size}


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The exported model on the CPU provider with its default settings and the benchmark's number of threads."""
    import onnxruntime as ort
    from optimum.onnxruntime import ORTModelForSemanticSegmentation
    from transformers import AutoImageProcessor

    torch.set_num_threads(request["threads"])
    processor = AutoImageProcessor.from_pretrained(request["checkpoint"], do_resize=False, use_fast=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    model = ORTModelForSemanticSegmentation.from_pretrained(_folder(request), session_options=options)

    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        inputs = processor(images=rgb, return_tensors="pt")
        staged = time.perf_counter()
        outputs = model(**inputs)
        executed = time.perf_counter()
        found = processor.post_process_semantic_segmentation(outputs, target_sizes=[rgb.shape[:2]])[0]
        end = time.perf_counter()
        return timed(end - start, executed - staged, found.numpy())

    packages = ("optimum", "optimum-onnx", "onnxruntime", "transformers", "torch")
    return call, {"versions": {name: metadata.version(name) for name in packages}, "precision": "fp32"}


def _folder(request: Request) -> Path:
    return Path(request["folder"]) / "optimum"


if __name__ == "__main__":
    serve(open_contender, prepare)
