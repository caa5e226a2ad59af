"""Run by itself: build plans with TensorRT for RTX, as a list of requests on standard input says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorrt_rtx as trt  # type: ignore[import-not-found]

logger = trt.Logger(trt.Logger.ERROR)
for request in json.load(sys.stdin):
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request["onnx"]):
        sys.exit(f"{request['onnx']}: {[parser.get_error(i).desc() for i in range(parser.num_errors)]}")
    config = builder.create_builder_config()
    for shapes in request["profiles"]:
        profile = builder.create_optimization_profile()
        for name, three in shapes.items():
            profile.set_shape(name, *map(tuple, three))
        config.add_optimization_profile(profile)
    if request["targets"]:
        config.num_compute_capabilities = len(request["targets"])
        for index, target in enumerate(request["targets"]):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        sys.exit(f"{request['onnx']}: no plan")
    Path(request["plan"]).write_bytes(plan)
