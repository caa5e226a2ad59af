"""Open dimensions of a plan's tensors as numbers, for given shapes of its inputs.

A program names its open dimensions, and computes them on the host from those of its inputs: by copies, products, sums,
quotients. That program is run here, as far as it is known; a dimension it does not reach stays unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

from segexport.tensorrt.plan_report import BYTES
from segexport.tensorrt.plan_text import Statement, Tensor, Text

_LITERAL = re.compile(r"__s\^(M?)(\d+)i(?:32|64)")
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: int(a / b) if b else 0,
    "min": min,
    "max": max,
}


def values(text: Text, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The named integers of a program, as far as they follow from its inputs' shapes.

    Args:
        text: the program.
        shapes: a shape for each input, by the name of its tensor in the program.
    """
    found: dict[str, int] = {}
    for name, shape in shapes.items():
        dims = text.tensors[name].dims
        if len(dims) == len(shape):
            found.update({side: size for side, size in zip(dims, shape, strict=True) if isinstance(side, str)})
    # A copy says that two are equal, and the inputs' own dimensions are copies of what the rest is computed from.
    copies = [(one.names("output"), one.names("input")) for one in text.shapes if one.kind == "copy"]
    for _ in range(2):
        for outputs, inputs in copies:
            for first, second in ((inputs, outputs), (outputs, inputs)):
                if len(first) == len(second) == 1 and first[0] in found:
                    found.setdefault(second[0], found[first[0]])
    for statement in text.shapes:
        _compute(statement, found)
    return found


def size_of(tensor: Tensor, dtype: str, known: Mapping[str, int]) -> int | None:
    """Bytes of a tensor; None where a dimension or the type's size is not known."""
    elements = elements_of(tensor.dims, known)
    if elements is None or dtype not in BYTES:
        return None
    return math.ceil(elements * BYTES[dtype])


def elements_of(dims: Iterable[int | str], known: Mapping[str, int]) -> int | None:
    """How many elements; None where a dimension is not known."""
    product = 1
    for side in dims:
        number = known.get(side) if isinstance(side, str) else side
        if number is None:
            return None
        product *= number
    return product


def _compute(statement: Statement, found: dict[str, int]) -> None:
    outputs, operands = statement.names("output"), [_value(name, found) for name in statement.names("input")]
    if len(outputs) != 1 or None in operands:
        return
    numbers = [number for number in operands if number is not None]
    if statement.kind == "copy" and len(numbers) == 1:
        found.setdefault(outputs[0], numbers[0])
    elif statement.kind in _ARITHMETIC and len(numbers) == 2:
        found.setdefault(outputs[0], _ARITHMETIC[statement.kind](numbers[0], numbers[1]))


def _value(name: str, found: Mapping[str, int]) -> int | None:
    if literal := _LITERAL.fullmatch(name):
        return -int(literal[2]) if literal[1] else int(literal[2])
    return found.get(name)
