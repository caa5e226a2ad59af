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

PACKAGES = ("openvino", "transformers", "torch")


def convert(request: Request) -> Any:
    """OpenVINO's model at the case's size."""
    import openvino as ov

    model = SegformerForSemanticSegmentation.from_pretrained(request["checkpoint"]).eval()
    shape = [1, 3, *request["size"]]
    return ov.convert_model(model, input=shape, example_input={"pixel_values": torch.zeros(shape)})


def save(model: Any, path: Path) -> Facts:
    """Write it; what is fp32 stays fp32, as everybody else's here (`save_model` would halve it)."""
    import openvino as ov

    ov.save_model(model, path, compress_to_fp16=False)
    return {"size_bytes": sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}.*"))}


def processor_of(request: Request) -> Any:
    """The checkpoint's, which need not resize."""
    return AutoImageProcessor.from_pretrained(request["checkpoint"], do_resize=False)


def call_of(request: Request, path: Path) -> tuple[Call, str]:
    """Compiled with defaults but the number of threads, and the hint that says what precision that comes to."""
    import openvino as ov

    torch.set_num_threads(request["threads"])
    processor = processor_of(request)
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": request["threads"]})
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

    return call, hint


def prepare(request: Request) -> Facts:
    """Convert and write."""
    return save(convert(request), _model(request))


def open_contender(request: Request) -> tuple[Call, Facts]:
    """On CPUs that have bf16 OpenVINO computes in it by itself."""
    call, hint = call_of(request, _model(request))
    return call, {
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "precision": precision_of(hint),
        "settings": f"INFERENCE_PRECISION_HINT {hint}",
    }


def _model(request: Request) -> Path:
    return Path(request["folder"]) / "converted.xml"


if __name__ == "__main__":
    serve(open_contender, prepare)
