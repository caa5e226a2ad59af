"""`openvino.convert_model` of transformers' model, in OpenVINO's default configuration."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from openvino_precision import precision_of
from protocol import Call, Facts, Request, serve, timed
from transformers import AutoImageProcessor, SegformerForSemanticSegmentation


def prepare(request: Request) -> Facts:
    """Convert at the case's size; weights stay fp32, as everybody else's here (`save_model` would halve them)."""
    import openvino as ov

    model = SegformerForSemanticSegmentation.from_pretrained(request["checkpoint"]).eval()
    shape = [1, 3, *request["size"]]
    converted = ov.convert_model(model, input=shape, example_input={"pixel_values": torch.zeros(shape)})
    ov.save_model(converted, _model(request), compress_to_fp16=False)
    return {"size_bytes": sum(path.stat().st_size for path in _model(request).parent.glob("converted.*"))}


def open_contender(request: Request) -> tuple[Call, Facts]:
    """Compiled with defaults but the number of threads: on CPUs that have bf16 OpenVINO then computes in it."""
    import openvino as ov

    torch.set_num_threads(request["threads"])
    processor = AutoImageProcessor.from_pretrained(request["checkpoint"], do_resize=False)
    compiled = ov.Core().compile_model(_model(request), "CPU", {"INFERENCE_NUM_THREADS": request["threads"]})
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        pixels = processor(images=rgb, return_tensors="np")["pixel_values"]
        staged = time.perf_counter()
        logits = compiled(pixels)[0]
        executed = time.perf_counter()
        full = torch.nn.functional.interpolate(
            torch.from_numpy(logits), size=rgb.shape[:2], mode="bilinear", align_corners=False
        )
        found = full.argmax(1)[0]
        end = time.perf_counter()
        return timed(end - start, executed - staged, found.numpy())

    packages = ("openvino", "transformers", "torch")
    return call, {
        "versions": {name: metadata.version(name) for name in packages},
        "precision": precision_of(hint),
        "settings": f"INFERENCE_PRECISION_HINT {hint}",
    }


def _model(request: Request) -> Path:
    return Path(request["folder"]) / "converted.xml"


if __name__ == "__main__":
    serve(open_contender, prepare)
