"""optimum-intel: its OpenVINO export behind `OVModelForCustomTasks`, as it has no class for semantic segmentation."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from openvino_precision import precision_of
from protocol import Call, Facts, Request, serve, timed


def prepare(request: Request) -> Facts:
    """What `optimum-cli export openvino --task semantic-segmentation` does, with its defaults."""
    from optimum.exporters.openvino import main_export

    main_export(request["checkpoint"], _folder(request), task="semantic-segmentation")
    return {"size_bytes": sum(path.stat().st_size for path in _folder(request).glob("openvino_model.*"))}


def open_contender(request: Request) -> tuple[Call, Facts]:
    """Compiled with its defaults but the number of threads: on CPUs that have bf16 OpenVINO then computes in it."""
    from optimum.intel import OVModelForCustomTasks

    # By its module's name: this transformers hides the Pillow processor, and AutoImageProcessor, behind torchvision.
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    torch.set_num_threads(request["threads"])
    processor = SegformerImageProcessorPil.from_pretrained(request["checkpoint"], do_resize=False)
    config = {"INFERENCE_NUM_THREADS": request["threads"]}
    model = OVModelForCustomTasks.from_pretrained(_folder(request), ov_config=config)
    hint = model.request.get_property("INFERENCE_PRECISION_HINT").to_string()

    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        inputs = processor(images=rgb, return_tensors="pt")
        staged = time.perf_counter()
        outputs = model(pixel_values=inputs["pixel_values"])
        executed = time.perf_counter()
        found = processor.post_process_semantic_segmentation(outputs, target_sizes=[rgb.shape[:2]])[0]
        end = time.perf_counter()
        return timed(end - start, executed - staged, found.numpy())

    packages = ("optimum", "optimum-intel", "openvino", "transformers", "torch")
    return call, {
        "versions": {name: metadata.version(name) for name in packages},
        "precision": precision_of(hint),
        "settings": f"INFERENCE_PRECISION_HINT {hint}",
    }


def _folder(request: Request) -> Path:
    return Path(request["folder"]) / "optimum-intel"


if __name__ == "__main__":
    serve(open_contender, prepare)
