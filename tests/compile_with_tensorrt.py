"""Run by itself, with TensorRT for RTX on the path: parse and compile an ONNX file, print what came of it as JSON."""

from __future__ import annotations

import json
import sys
import time

import tensorrt_rtx as trt  # type: ignore[import-not-found]

builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, builder.logger)
started = time.perf_counter()
parsed = parser.parse_from_file(sys.argv[1])
errors = [f"{parser.get_error(i).node_name()}: {parser.get_error(i).desc()}" for i in range(parser.num_errors)]
plan = None
if parsed and network.num_outputs:
    config = builder.create_builder_config()
    image = network.get_input(0)
    if -1 in tuple(image.shape):
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, *[(n, *tuple(image.shape)[1:]) for n in (1, 2, 4)])
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
outputs = [network.get_output(i) for i in range(network.num_outputs)]
found = {
    "parsed": parsed,
    "errors": errors,
    "outputs": [(one.name, one.dtype.name, tuple(one.shape)) for one in outputs],
    "size": None if plan is None else plan.nbytes,
    "seconds": time.perf_counter() - started,
}
print(json.dumps(found))
