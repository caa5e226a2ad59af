"""What depends on sizes, and on the numbers in constants."""

from __future__ import annotations

from segexport.lint.checks.case import Case, Sites, at
from segexport.lint.subject import constant, input_of


def resized_dimensions(case: Case) -> Sites:
    """Interpolation in more dimensions than there are layouts for."""
    for node in case.graph.of("Resize"):
        before, after = case.graph.shape(node.inputs[0]), case.graph.shape(node.outputs[0])
        if node.attributes.get_string("mode", "nearest") == "nearest" or before is None or after is None:
            continue
        changed = [i for i, pair in enumerate(zip(before, after, strict=True)) if _differ(*pair)]
        if changed and len(before) - changed[0] > case.parameters["most"]:
            yield at(node, "interpolates more than the last three dimensions")


def _differ(before: int | str | None, after: int | str | None) -> bool:
    """Whether two sides are known to be different."""
    return isinstance(before, int) and isinstance(after, int) and before != after


def large_topk(case: Case) -> Sites:
    """More of the best than TensorRT sorts."""
    for node in case.graph.of("TopK"):
        count = constant(input_of(node, 1))
        if count is not None and int(count.max()) > case.parameters["most"]:
            yield at(node, f"selects {int(count.max())}")


def spatial_dimensions(case: Case) -> Sites:
    """Convolutions of more than three dimensions."""
    for node in case.graph.of(*case.parameters["operators"]):
        shape = case.graph.shape(input_of(node, 1))
        if shape is not None and len(shape) - 2 > case.parameters["most"]:
            yield at(node, f"convolves in {len(shape) - 2} dimensions")


def slices_without_axes(case: Case) -> Sites:
    """Slices of the first dimensions that do not say so."""
    for node in case.graph.of("Slice"):
        shape, starts = case.graph.shape(node.inputs[0]), case.graph.shape(input_of(node, 1))
        if input_of(node, 3) is None and shape is not None and starts is not None and starts[0] != len(shape):
            yield at(node, "names no axes")


def slices_in_int32(case: Case) -> Sites:
    """Slices of some dimensions by int32 constants, without steps."""
    for node in case.graph.of("Slice"):
        shape, starts = case.graph.shape(node.inputs[0]), constant(input_of(node, 1))
        if shape is None or starts is None or input_of(node, 3) is None or input_of(node, 4) is not None:
            continue
        if starts.dtype.name == "int32" and starts.size != len(shape):
            yield at(node, "has int32 indices and no steps")


def integer_powers(case: Case) -> Sites:
    """Pow with integers."""
    for node in case.graph.of("Pow"):
        if any(case.graph.type(value) in ("int32", "int64") for value in node.inputs):
            yield at(node, "reads integers")


def mixed_batchnorm(case: Case) -> Sites:
    """BatchNormalization whose parameters have another type than its input."""
    for node in case.graph.of("BatchNormalization"):
        if len({case.graph.type(value) for value in node.inputs} - {None}) > 1:
            yield at(node, "reads several types")


CHECKS = (
    *(resized_dimensions, large_topk, spatial_dimensions, slices_without_axes, slices_in_int32),
    *(integer_powers, mixed_batchnorm),
)
