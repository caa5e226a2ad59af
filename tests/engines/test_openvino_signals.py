"""Ctrl-C behind two engines closed in the order they were opened: OpenVINO left a stack for signals behind."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

SCRIPT = """
import gc, os, signal, sys
from pathlib import Path
import onnx
from onnx import TensorProto, helper
from segexport.engines.openvino import compile_graph

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Relu", ["a"], ["b"])],
    "g",
    [value("a", TensorProto.FLOAT, [1, 8])],
    [value("b", TensorProto.FLOAT, [1, 8])],
)
path = Path(sys.argv[1])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
first, second = compile_graph(path, 1), compile_graph(path, 1)
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
print("alive")
"""


def test_a_signal_behind_two_engines(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "g.onnx")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr
