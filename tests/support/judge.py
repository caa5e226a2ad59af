"""Run by itself: what TensorRT for RTX says of ONNX files, a line of JSON before and after each.

A file that ends this process is the last one named.
"""

from __future__ import annotations

import json
import sys

import tensorrt_rtx as trt


class Silent(trt.ILogger):
    """The process's one logger, since TensorRT uses no other; prints nothing."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(msg)


def profile_of(builder: trt.Builder, network: trt.INetworkDefinition) -> trt.IOptimizationProfile | None:
    """1, 2 and 4 for every open dimension, and for the values of inputs that are shapes."""
    profile, needed = builder.create_optimization_profile(), False
    for one in (network.get_input(i) for i in range(network.num_inputs)):
        shape = tuple(one.shape)
        if one.is_shape_tensor:
            profile.set_shape_input(one.name, *[[n] * (shape[0] if shape else 1) for n in (1, 2, 4)])
        elif -1 in shape:
            profile.set_shape(one.name, *[[n if side == -1 else side for side in shape] for n in (1, 2, 4)])
        else:
            continue
        needed = True
    return profile if needed else None


def judge(builder: trt.Builder, logger: Silent, path: str) -> dict[str, object]:
    logger.errors.clear()
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path) or not network.num_outputs:
        return {"taken": False, "reason": parser.get_error(0).desc() if parser.num_errors else "no outputs"}
    config = builder.create_builder_config()
    if (profile := profile_of(builder, network)) is not None:
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return {"taken": False, "reason": logger.errors[0] if logger.errors else "no plan"}
    types = [network.get_output(i).dtype.name for i in range(network.num_outputs)]
    return {"taken": True, "reason": "", "types": types, "fused": bytes(plan).count(b"_mha_") > 0}


if __name__ == "__main__":
    log = Silent()
    maker = trt.Builder(log)
    for path in sys.argv[1:]:
        print(json.dumps({"file": path}), flush=True)
        print(json.dumps(judge(maker, log, path)), flush=True)
