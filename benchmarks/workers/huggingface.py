"""transformers on PyTorch as its users run it: eager, compiled, and through `pipeline`."""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from PIL import Image
from protocol import Call, Facts, Request, serve, timed
from transformers import AutoImageProcessor, SegformerForSemanticSegmentation, pipeline


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The checkpoint behind one of three front doors: request["variant"] is eager, compile or pipeline."""
    torch.set_num_threads(request["threads"])
    # Images come in the network's size: nothing is to be resized.
    processor = AutoImageProcessor.from_pretrained(request["checkpoint"], do_resize=False)
    model = SegformerForSemanticSegmentation.from_pretrained(request["checkpoint"]).eval()
    facts: Facts = {
        "versions": {name: metadata.version(name) for name in ("torch", "transformers")},
        "precision": "fp32",
        "settings": f"attention {model.config._attn_implementation}",
    }
    if request["variant"] == "pipeline":
        return _pipeline_call(model, processor), facts
    if request["variant"] == "eager":
        return _model_call(model, processor), facts
    start = time.perf_counter()
    call = _model_call(torch.compile(model), processor)
    call(np.zeros((*request["size"], 3), np.uint8))
    facts["settings"] += f", inductor compiled it in {time.perf_counter() - start:.0f} s"
    return call, facts


def _model_call(model: Any, processor: Any) -> Call:
    def call(rgb: np.ndarray) -> dict[str, Any]:
        start = time.perf_counter()
        inputs = processor(images=rgb, return_tensors="pt")
        with torch.inference_mode():
            staged = time.perf_counter()
            outputs = model(**inputs)
            executed = time.perf_counter()
            found = processor.post_process_semantic_segmentation(outputs, target_sizes=[rgb.shape[:2]])[0]
        end = time.perf_counter()
        return timed(end - start, executed - staged, found.numpy())

    return call


def _pipeline_call(model: Any, processor: Any) -> Call:
    segment = pipeline("image-segmentation", model=model, image_processor=processor)
    ids = model.config.label2id

    def call(rgb: np.ndarray) -> dict[str, Any]:
        image = Image.fromarray(rgb)
        start = time.perf_counter()
        segments = segment(image, subtask="semantic")
        end = time.perf_counter()
        # The pipeline answers with one mask a class: that is its result, and putting them together is not timed.
        found = np.full(rgb.shape[:2], 255, np.uint8)
        for entry in segments:
            found[np.asarray(entry["mask"]) > 0] = ids[entry["label"]]
        return timed(end - start, None, found)

    return call


if __name__ == "__main__":
    serve(open_contender)
