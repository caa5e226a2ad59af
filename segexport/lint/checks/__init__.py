"""The functions that rules name, one for each way in which a graph can break one."""

from collections.abc import Callable

from segexport.lint.checks import attention, dataflow, inputs, operators, quantization, structure, typing, values
from segexport.lint.checks.case import Case, Sites

_MODULES = (structure, typing, operators, values, dataflow, quantization, attention, inputs)

CHECKS: dict[str, Callable[[Case], Sites]] = {check.__name__: check for one in _MODULES for check in one.CHECKS}
