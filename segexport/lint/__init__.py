"""Whether a TensorRT takes an ONNX graph: rules as data, checked without TensorRT or a GPU."""

from segexport.lint.check import Finding, Verdict, check_file, check_model
from segexport.lint.rules import Target, choose_targets, targets

__all__ = ["Finding", "Target", "Verdict", "check_file", "check_model", "choose_targets", "targets"]
