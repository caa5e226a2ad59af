#!/usr/bin/env bash
# One expects that the largest number of data with a NaN is NaN, as it is in NumPy, so that who watches the extremes of
# activations notices broken ones.
#
# What really happens: in ONNX Runtime ReduceMax and ReduceMin give NaN only where the NaN is the very first of the
# numbers that are reduced to one, its index 0 on every reduced axis; anywhere else they pass over it and give a finite
# number. That holds for one axis, several, or all, and for every size tried. ReduceSum and ReduceSumSquare give NaN
# wherever it is. A calibration that watches maxima and minima alone does not notice NaN.
#
# Versions seen: onnxruntime 1.31.1 (CPUExecutionProvider), onnx 1.23.2, NumPy 2.4.6, Python 3.11, x86-64 Linux. The
# places may be others on another processor.
#
# Output seen:
#
#     onnxruntime 1.31.1, numpy 2.4.6
#     ReduceMax of [ 1.  2. nan  3.]: 3.0 in ONNX Runtime, nan in NumPy
#     ReduceMin of [ 1.  2. nan  3.]: 1.0 in ONNX Runtime, nan in NumPy
#     ReduceSum of [ 1.  2. nan  3.]: nan in ONNX Runtime, nan in NumPy
#     ReduceSumSquare of [ 1.  2. nan  3.]: nan in ONNX Runtime, nan in NumPy
#     ReduceMax: NaN comes out for 263 of 4668 places of one NaN; 263 are the first of their slice
#     ReduceMin: NaN comes out for 263 of 4668 places of one NaN; 263 are the first of their slice
#     ReduceSum: NaN comes out for 4668 of 4668 places of one NaN; 263 are the first of their slice
#     ReduceSumSquare: NaN comes out for 4668 of 4668 places of one NaN; 263 are the first of their slice
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6

cat >"$folder/program.py" <<'PYTHON'
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

CASES = [((1,), (0,)), ((2,), (0,)), ((17,), (0,)), ((1000,), (0,)), ((6, 40), (1,)), ((6, 40), (0,))]
CASES += [((5, 6, 40), (1,)), ((5, 6, 40), (0, 2)), ((2, 3, 8, 8), (2, 3)), ((2, 3, 8, 8), (0, 1, 2, 3))]
IN_NUMPY = {"ReduceMax": np.max, "ReduceMin": np.min, "ReduceSum": np.sum}
IN_NUMPY["ReduceSumSquare"] = lambda numbers, axis: np.sum(numbers * numbers, axis)


def reduction(operator, rank, axes):
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "axes"], ["y"], keepdims=0)],
        "reduction",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * rank)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


print(f"onnxruntime {ort.__version__}, numpy {np.__version__}")
example = np.array([1, 2, np.nan, 3], np.float32)
for operator, reduce in IN_NUMPY.items():
    found = reduction(operator, 1, (0,)).run(None, {"x": example})[0]
    print(f"{operator} of {example}: {found} in ONNX Runtime, {reduce(example, axis=0)} in NumPy")
for operator, reduce in IN_NUMPY.items():
    seen = at_first = total = 0
    for shape, axes in CASES:
        running = reduction(operator, len(shape), axes)
        numbers = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        for place in np.ndindex(*shape):
            holed = numbers.copy()
            holed[place] = np.nan
            assert np.isnan(reduce(holed, axis=axes)).sum() == 1
            noticed = bool(np.isnan(running.run(None, {"x": holed})[0]).any())
            first = all(place[axis] == 0 for axis in axes)
            total += 1
            seen += noticed
            at_first += first
            extreme = operator in ("ReduceMax", "ReduceMin")
            if noticed != (first or not extreme):
                sys.exit(f"CHANGED: {operator} of {shape} over axes {axes}, NaN at {place}: NaN comes out: {noticed}.")
    print(f"{operator}: NaN comes out for {seen} of {total} places of one NaN; {at_first} are the first of their slice")
PYTHON
"$python" "$folder/program.py"
