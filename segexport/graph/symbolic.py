"""Sizes that the image decides, as expressions: what a dimension of a finished graph is at any height and width.

A `Dim` is a product of whole numbers and `Unknown`s in the order in which a row-major array runs through them, so that
h w tokens can become a plane [h, w] again. An `Unknown` is the height, the width, the batch, or what rounds down or up
a quotient of one: the first stage of a published SegFormer has ceil(height/4) rows, and ceil(ceil(x/a)/b) =
ceil(x/(a b)) for whole a, b (Graham, Knuth, Patashnik, Concrete Mathematics, 3.11), so the second has ceil(height/8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["batch", "height", "width", "both"]
"""What an unknown depends on."""


@dataclass(frozen=True)
class Unknown:
    """A whole number above zero that is known only at run time."""

    name: str
    """What it is, such as `ceil(height/4)`; equal names are equal numbers."""
    value: int
    """What it is at the size the graph was made for."""
    side: Side
    whole: tuple[Unknown, ...] = ()
    """What it is a part of, where it is a quotient."""
    parts: int = 1
    """Into how many."""
    exact: bool = False
    """Whether so many of it are the whole; rounded up otherwise."""


Factor = int | Unknown


@dataclass(frozen=True, eq=False)
class Dim:
    """A product of factors, none of them a plain 1. Two are equal if they are the same number at every size."""

    factors: tuple[Factor, ...] = ()

    @property
    def value(self) -> int:
        """The number at the size the graph was made for."""
        return math.prod(_value(factor) for factor in self.factors)

    @property
    def unknowns(self) -> tuple[Unknown, ...]:
        """The factors that are not known."""
        return tuple(factor for factor in self.factors if isinstance(factor, Unknown))

    @property
    def known(self) -> bool:
        """Whether it is the same number at every size."""
        return not self.unknowns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        return "*".join(str(f) if isinstance(f, int) else f.name for f in self.factors) or "1"

    def _key(self) -> tuple[int, tuple[str, ...]]:
        count = math.prod(factor for factor in self.factors if isinstance(factor, int))
        return count, tuple(sorted(unknown.name for unknown in self.unknowns))


Dims = tuple[Dim, ...]


def dim(*factors: Factor) -> Dim:
    """The product of `factors`; two halves of something are the whole of it again."""
    kept = [factor for factor in factors if factor != 1]
    for place, factor in enumerate(kept):
        for other, unknown in enumerate(kept):
            if (
                isinstance(factor, int)
                and isinstance(unknown, Unknown)
                and unknown.exact
                and not factor % unknown.parts
            ):
                kept[place] = factor // unknown.parts
                kept[other : other + 1] = unknown.whole
                return dim(*kept)
    return Dim(tuple(kept))


def product(dims: Sequence[Dim]) -> Dim:
    """How many numbers an array of these dimensions holds."""
    return dim(*(factor for one in dims for factor in one.factors))


def strided(source: Dim, kernel: int, padding: int, stride: int) -> Dim | None:
    """How often a kernel of `kernel` pixels fits, floor((source + padding - kernel) / stride) + 1; None if unclear.

    Source: ONNX's Conv, `auto_pad=NOTSET`; `padding` is that of both ends, `kernel` includes the dilation.
    """
    if source.known:
        return dim((source.value + padding - kernel) // stride + 1)
    excess = padding - kernel
    if stride == 1 and excess == -1:
        return source
    if len(source.factors) != 1:
        return None
    (unknown,) = source.unknowns
    value = (unknown.value + excess) // stride + 1
    if excess == -1:
        nested = len(unknown.whole) == 1 and not unknown.exact
        whole, parts = (unknown.whole, unknown.parts * stride) if nested else ((unknown,), stride)
        return dim(Unknown(f"ceil({whole[0].name}/{parts})", value, unknown.side, whole, parts))
    name = f"{unknown.name}/{stride}" if excess == -stride else f"({unknown.name}{excess + stride:+d})/{stride}"
    return dim(Unknown(f"floor({name})", value, unknown.side))


def split(source: Sequence[Dim], sizes: Sequence[int]) -> Dims | None:
    """What `sizes`, a row-major array's at one size of the image, are at every size; None if that is unclear.

    Args:
        source: the same array's dimensions before it was reshaped.
        sizes: the numbers they were reshaped to.

    The factors are dealt out in their order. Where they do not fit, h w tokens as [2, N / 2], the largest number is
    taken for the one that changes with the size.
    """
    factors = [factor for one in source for factor in one.factors]
    result: list[Dim] = []
    while factors or len(result) < len(sizes):
        taken = [factors.pop(0)] if factors else []
        end = len(result) + 1
        while (have := _values(taken)) != (want := math.prod(sizes[len(result) : end])):
            if have < want and factors:
                taken.append(factors.pop(0))
            elif have > want and end < len(sizes):
                end += 1
            else:
                return None
        if end > len(sizes):  # all that is left are ones
            result[-1] = dim(*result[-1].factors, *taken)
            continue
        dealt = _dealt(taken, sizes[len(result) : end])
        if dealt is None:
            return None
        result += dealt
    return tuple(result)


def _dealt(factors: Sequence[Factor], sizes: Sequence[int]) -> list[Dim] | None:
    """As many dimensions as `sizes`, of factors with the same product."""
    if len(sizes) == 1:
        return [dim(*factors)]
    left, result = list(factors), []
    for size in sizes:
        taken: list[Factor] = []
        while (lacking := size // _values(taken)) > 1 and left:
            factor = left.pop(0)
            if lacking % _value(factor) == 0:
                taken.append(factor)
            elif isinstance(factor, int) and factor % lacking == 0:
                taken.append(lacking)
                left.insert(0, factor // lacking)
            else:
                return _quotient(factors, sizes)
        if lacking > 1:
            return _quotient(factors, sizes)
        result.append(dim(*taken))
    return None if left else result


def _quotient(factors: Sequence[Factor], sizes: Sequence[int]) -> list[Dim] | None:
    """All sizes but the largest as they are, and the largest as what is left."""
    largest = max(sizes)
    unknowns = tuple(factor for factor in factors if isinstance(factor, Unknown))
    if list(sizes).count(largest) != 1 or len(unknowns) != len(factors):
        return None
    parts = math.prod(sizes) // largest
    rest = Unknown(f"{Dim(unknowns)}/{parts}", largest, "both", unknowns, parts, exact=True)
    return [dim(rest) if size == largest else dim(size) for size in sizes]


def _value(factor: Factor) -> int:
    return factor if isinstance(factor, int) else factor.value


def _values(factors: Sequence[Factor]) -> int:
    return math.prod(_value(factor) for factor in factors)
