#!/usr/bin/env bash
# One expects that a process which has loaded a model holds its weights once: the float32 weights of MatMuls are packed
# for the processor, and the originals are freed.
#
# What really happens, on Linux with glibc: the originals are freed, but stay resident, and the process has twice the
# weights' size. glibc maps large blocks on their own and gives them back when freed, but raises the size from which on
# it does so with every larger block that is freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD); weights below that
# size lie in the heap, between packed ones that stay. With a fixed threshold (the environment variable
# MALLOC_MMAP_THRESHOLD_, before the process starts) the resident size is about half. The other two figures show the
# cause: malloc_trim(0) gives the same memory back, and without packing it is never taken twice.
#
# Versions seen: onnxruntime 1.31.1, onnx 1.23.2, NumPy 2.4.6, glibc 2.36, Python 3.11, x86-64 Linux. Needs about 1 GiB
# of memory and 300 MiB of disk for the model.
#
# Output seen:
#
#     glibc 2.36
#     1000 MatMuls of 0.30 MiB: 299 MiB of weights
#     Loading it with onnxruntime 1.31.1 adds this to the resident memory:
#       619 MiB by default
#       323 MiB with MALLOC_MMAP_THRESHOLD_=65536
#       325 MiB after malloc_trim(0)
#       313 MiB with session.disable_prepacking
set -euo pipefail
if ! getconf GNU_LIBC_VERSION 2>/dev/null; then
    echo "This is about Linux with glibc, which this machine has not." >&2
    exit 2
fi
unset MALLOC_MMAP_THRESHOLD_ GLIBC_TUNABLES
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6

cat >"$folder/write.py" <<'PYTHON'
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COUNT, WIDTH = 1000, 280
numbers = np.random.default_rng(0)
weights = [
    numpy_helper.from_array(numbers.standard_normal((WIDTH, WIDTH), dtype=np.float32), f"weight{i}")
    for i in range(COUNT)
]
nodes = [helper.make_node("MatMul", [f"value{i}", f"weight{i}"], [f"value{i + 1}"]) for i in range(COUNT)]
graph = helper.make_graph(
    nodes,
    "chain",
    [helper.make_tensor_value_info("value0", TensorProto.FLOAT, [1, WIDTH])],
    [helper.make_tensor_value_info(f"value{COUNT}", TensorProto.FLOAT, [1, WIDTH])],
    weights,
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), sys.argv[1])
print(f"{COUNT} MatMuls of {WIDTH * WIDTH * 4 / 2**20:.2f} MiB: {COUNT * WIDTH * WIDTH * 4 / 2**20:.0f} MiB of weights")
PYTHON

cat >"$folder/load.py" <<'PYTHON'
import ctypes
import os
import sys
from pathlib import Path

import onnxruntime as ort


def resident():
    """The resident size of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


options = ort.SessionOptions()
if sys.argv[2] == "unpacked":
    options.add_session_config_entry("session.disable_prepacking", "1")
before = resident()
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
loaded = resident() - before
if sys.argv[2] == "trimmed":
    ctypes.CDLL(None).malloc_trim(0)
    loaded = resident() - before
print(round(loaded))
PYTHON

model="$folder/model.onnx"
"$python" "$folder/write.py" "$model"
default=$("$python" "$folder/load.py" "$model" default)
fixed=$(MALLOC_MMAP_THRESHOLD_=65536 "$python" "$folder/load.py" "$model" default)
trimmed=$("$python" "$folder/load.py" "$model" trimmed)
unpacked=$("$python" "$folder/load.py" "$model" unpacked)
echo "Loading it with onnxruntime 1.31.1 adds this to the resident memory:"
echo "  $default MiB by default"
echo "  $fixed MiB with MALLOC_MMAP_THRESHOLD_=65536"
echo "  $trimmed MiB after malloc_trim(0)"
echo "  $unpacked MiB with session.disable_prepacking"
if ((default * 10 < fixed * 14)); then
    echo "CHANGED: a fixed threshold no longer saves what it saved." >&2
    exit 1
fi
if ((default * 10 < trimmed * 14)); then
    echo "CHANGED: what stays resident is no longer freed memory." >&2
    exit 1
fi
