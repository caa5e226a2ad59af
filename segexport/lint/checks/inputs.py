"""What the caller must give."""

from __future__ import annotations

from segexport.graph.macs import dims
from segexport.lint.checks.case import Case, Sites, at_value, listed

_FLOATS = ("float", "float16", "bfloat16", "double")


def float_images(case: Case) -> Sites:
    """Images that come as numbers: four dimensions, three of them channels."""
    for value in case.graph.inputs():
        shape = dims(value.shape)
        if case.graph.type(value) in _FLOATS and len(shape) == 4 and 3 in (shape[1], shape[3]):
            yield at_value(value, "input", f"is an image in {case.graph.type(value)}")


def inputs_without_shape(case: Case) -> Sites:
    """Inputs of which not even the number of dimensions is said."""
    for value in case.graph.inputs():
        if value.shape is None:
            yield at_value(value, "input", "has no shape")


def dynamic_inputs(case: Case) -> Sites:
    """Inputs with open dimensions."""
    for value in case.graph.inputs():
        free = [side or "one without a name" for side in dims(value.shape) if not isinstance(side, int)]
        if free:
            yield at_value(value, "input", f"leaves {listed(free)} open")


def unused_inputs(case: Case) -> Sites:
    """Inputs that nothing reads."""
    for value in case.graph.inputs():
        if not list(value.uses()) and not value.is_graph_output():
            yield at_value(value, "input", "is read by nothing")


CHECKS = (float_images, inputs_without_shape, dynamic_inputs, unused_inputs)
