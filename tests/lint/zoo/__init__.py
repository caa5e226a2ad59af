"""Small graphs, good and bad, with the rules that each breaks on TensorRT for RTX.

What TensorRT says of each is in no table: `test_zoo.py` asks its parser and builder.
"""

from tests.lint.zoo.animal import Animal
from tests.lint.zoo.attention import AS_OPERATOR, ATTENTION
from tests.lint.zoo.mixes import MIXED
from tests.lint.zoo.operators import OPERATORS
from tests.lint.zoo.quantized import QUANTIZED
from tests.lint.zoo.shapes import SHAPES
from tests.lint.zoo.types import TYPES

ZOO = (*TYPES, *MIXED, *OPERATORS, *SHAPES, *QUANTIZED, *ATTENTION, *AS_OPERATOR)

__all__ = ["ATTENTION", "ZOO", "Animal"]
