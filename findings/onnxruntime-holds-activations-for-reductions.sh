#!/usr/bin/env bash
# One expects that ONNX Runtime runs the nodes of a graph in the order of the file where nothing stands against it, so
# that a ReduceMax placed directly behind each layer reads the activation at once and lets it go.
#
# What really happens: by default everything that leads to the last output runs first and the reductions run at the
# end. Every activation is held until then, and the peak memory grows with the number of layers. With
# `SessionOptions.execution_order = ExecutionOrder.PRIORITY_BASED` the nodes, none of which has a priority, run by
# position, and memory stays flat.
#
# Versions seen: onnxruntime 1.31.1, onnx 1.23.2, NumPy 2.4.6, Python 3.11, x86-64 Linux. Needs Linux, for /proc, and
# up to 750 MiB of memory.
#
# Output seen:
#
#     onnxruntime 1.31.1
#     DEFAULT executes: Add Mul Add Mul ReduceMax ReduceMax ReduceMax ReduceMax
#       10 activations of 16 MiB: running adds 169 MiB to the peak
#       40 activations of 16 MiB: running adds 673 MiB to the peak
#     PRIORITY_BASED executes: Add ReduceMax Mul ReduceMax Add ReduceMax Mul ReduceMax
#       10 activations of 16 MiB: running adds 35 MiB to the peak
#       40 activations of 16 MiB: running adds 35 MiB to the peak
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6

cat >"$folder/program.py" <<'PYTHON'
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

NUMBERS = 4 << 20  # 16 MiB of float32


def chain(count, numbers):
    """Add and Mul in turn, with a ReduceMax behind each of them; every maximum is an output."""
    nodes, outputs, value = [], [], "x"
    for i in range(count):
        nodes.append(helper.make_node("Mul" if i % 2 else "Add", [value, "half"], [f"value{i}"]))
        value = f"value{i}"
        nodes.append(helper.make_node("ReduceMax", [value], [f"maximum{i}"], keepdims=0))
        outputs.append(helper.make_tensor_value_info(f"maximum{i}", TensorProto.FLOAT, []))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [numbers])],
        outputs,
        [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def session(count, numbers, order, options):
    options.execution_order = getattr(ort.ExecutionOrder, order)
    return ort.InferenceSession(chain(count, numbers), options, providers=["CPUExecutionProvider"])


def peak():
    """The largest resident size of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def run(count, order):
    """What running adds to the peak of a fresh process, in MiB."""
    running = session(count, NUMBERS, order, ort.SessionOptions())
    image = np.zeros(NUMBERS, np.float32)
    before = peak()
    running.run(None, {"x": image})
    print(peak() - before)


def executed(order):
    """The operators of a chain of 4 in the order of their execution, as ONNX Runtime's profile has them."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(__file__).parent / "profile")
    running = session(4, 16, order, options)
    running.run(None, {"x": np.zeros(16, np.float32)})
    events = json.loads(Path(running.end_profiling()).read_text())
    kernels = [event for event in events if event["name"].endswith("kernel_time")]
    return [event["args"]["op_name"] for event in sorted(kernels, key=lambda event: event["ts"])]


def measured(count, order):
    command = [sys.executable, __file__, str(count), order]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if len(sys.argv) > 1:
    run(int(sys.argv[1]), sys.argv[2])
    sys.exit()
print(f"onnxruntime {ort.__version__}")
memory = {}
for order in ("DEFAULT", "PRIORITY_BASED"):
    print(f"{order} executes: {' '.join(executed(order))}")
    for count in (10, 40):
        memory[order, count] = measured(count, order)
        print(f"  {count} activations of 16 MiB: running adds {memory[order, count]:.0f} MiB to the peak")
if memory["DEFAULT", 40] < 2 * memory["DEFAULT", 10]:
    sys.exit("CHANGED: the memory of the default order no longer grows with the number of activations.")
if memory["DEFAULT", 40] < 2 * memory["PRIORITY_BASED", 40]:
    sys.exit("CHANGED: the default order no longer takes twice the memory of PRIORITY_BASED.")
if memory["PRIORITY_BASED", 40] > 1.5 * memory["PRIORITY_BASED", 10]:
    sys.exit("CHANGED: the memory of PRIORITY_BASED grows with the number of activations.")
PYTHON
"$python" "$folder/program.py"
