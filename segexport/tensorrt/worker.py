"""The process that parses and builds: bad input can crash TensorRT, and then only this.

Run as `python -m segexport.tensorrt.worker`. A request comes as JSON on standard input; what happens goes out as JSON,
a line each: `{"step", "done", "total"}` while it builds, and in the end `{"built"}` or `{"error", "kind"}`. What
TensorRT itself prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from segexport.errors import SegexportError, UnsupportedOnTarget
from segexport.tensorrt import classic, rtx
from segexport.tensorrt.flavour import FLAVOURS, RTX, Flavour, logger
from segexport.tensorrt.options import Profile, TensorRtOptions

if TYPE_CHECKING:
    import tensorrt as trt

Emit = Callable[[dict[str, Any]], None]


def build(flavour: Flavour, request: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Parse an ONNX file, build it, write the plan.

    Raises:
        UnsupportedOnTarget: the parser or the builder refuses the graph; names node and reason.
        EngineUnavailable: TensorRT, or the GPU that it builds on, is missing.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    log, messages = logger(flavour)
    builder = trt.Builder(log)
    config = builder.create_builder_config()
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(request["onnx"])
    require_parsed(parser, network, parsed, messages.drain(), Path(request["onnx"]).name)
    options: TensorRtOptions = request["options"]
    for profile in request["profiles"]:
        _add_profile(builder, network, config, profile)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if flavour is RTX:
        rtx.configure(flavour, config, options)
    else:
        classic.configure(flavour, builder, config, options, _bytes_of(request["timing_cache"]))
    config.progress_monitor = _monitor(flavour, emit)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UnsupportedOnTarget(_no_plan(flavour, messages.drain()))
    Path(request["plan"]).write_bytes(plan)
    if request["timing_cache"] is not None and flavour is not RTX:
        Path(request["timing_cache"]).write_bytes(classic.timing_cache(config))
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    return {
        "version": trt.__version__,
        "inputs": network.num_inputs,
        "tensors": [[one.name, one.dtype.name.lower(), list(one.shape)] for one in tensors],
    }


def require_parsed(
    parser: trt.OnnxParser, network: trt.INetworkDefinition, parsed: bool, logged: list[str], name: str
) -> None:
    """Refuse what the parser did, and what it says it took though nothing came of it.

    Raises:
        UnsupportedOnTarget: with the first error's node, operator and reason.
    """
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    if found:
        first = found[0]
        where = f"{first.node_name() or 'a node without a name'} ({first.node_operator() or 'no operator'})"
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise UnsupportedOnTarget(
            f"{name}: TensorRT does not take {where}: {one_line(first.desc())}{more}; "
            "segexport doctor --target names the rule and the remedy"
        )
    if not parsed or network.num_outputs == 0:
        said = f" ({one_line(logged[0])})" if logged else ""
        raise UnsupportedOnTarget(f"{name} holds no graph that TensorRT can read{said}: export it again")


def one_line(text: str) -> str:
    """Text of TensorRT's without its line breaks, and not endless."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:400]}..."


def _add_profile(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig, profile: Profile
) -> None:
    image = network.get_input(0)
    if -1 not in tuple(image.shape):
        return
    made = builder.create_optimization_profile()
    made.set_shape(image.name, (*profile.least, 3), (*profile.best, 3), (*profile.most, 3))
    if config.add_optimization_profile(made) < 0:
        raise UnsupportedOnTarget(f"TensorRT does not take the profile {profile}: pass another --profile")


def _no_plan(flavour: Flavour, logged: list[str]) -> str:
    reason = one_line(logged[0]) if logged else "it gave no reason"
    remedy = "segexport doctor --target names what it does not take"
    if "workspace" in reason:
        remedy = "pass a larger --workspace, or leave it out"
    return f"{flavour.title} built no engine: {reason}; {remedy}"


def _monitor(flavour: Flavour, emit: Emit) -> trt.IProgressMonitor:
    """Reports each phase's steps."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.totals: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.totals[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            self.totals.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            emit({"step": phase_name, "done": step + 1, "total": self.totals.get(phase_name, step + 1)})
            return True

    return Monitor()


def _bytes_of(path: str | None) -> bytes:
    return Path(path).read_bytes() if path is not None and Path(path).exists() else b""


def main() -> None:
    """Answer the request that stands on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, who ends this process
    channel: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def emit(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    request = json.load(sys.stdin)
    request["profiles"] = [Profile(*(tuple(shape) for shape in shapes)) for shapes in request["profiles"]]
    request["options"] = TensorRtOptions(**{**request["options"], "targets": tuple(request["options"]["targets"])})
    try:
        emit({"built": build(FLAVOURS[request["engine"]], request, emit)})
    except SegexportError as error:
        emit({"error": str(error), "kind": type(error).__name__})
    except OSError as error:
        emit({"error": str(error), "kind": "OSError", "errno": error.errno})


if __name__ == "__main__":
    main()
