"""Storages, torch's runs of bytes, and tensors as NumPy views of them; no view reaches beyond its storage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_AXES = 32
"""NumPy 1 has no more."""


class Misfit(ValueError):
    """A storage or tensor that is not what its file has bytes for; the text says which."""


@dataclass(frozen=True)
class Storage:
    """Bytes, uint8 [size], and what they are read as where the file says so: an UntypedStorage leaves it open.

    `data` is None where only shapes are wanted.
    """

    size: int
    dtype: np.dtype[Any] | None
    data: npt.NDArray[np.uint8] | None

    def part(self, offset: object, count: object) -> Storage:
        """A view of `count` elements from `offset` on, in elements.

        Raises:
            Misfit: it reaches beyond the storage.
        """
        width = self.dtype.itemsize if self.dtype else 1
        start, size = _natural(offset, "an offset") * width, _natural(count, "a count of elements") * width
        if start + size > self.size:
            raise Misfit(f"a storage's view ends at byte {start + size} of {self.size}")
        return Storage(size, self.dtype, None if self.data is None else self.data[start : start + size])


def storage_size(count: object, dtype: np.dtype[Any] | None) -> int:
    """Bytes of `count` elements; of bytes where the storage has no type.

    Raises:
        Misfit: `count` is no natural number.
    """
    return _natural(count, "a count of elements") * (dtype.itemsize if dtype else 1)


def tensor(
    storage: object, offset: object, size: object, stride: object, dtype: np.dtype[Any] | None = None
) -> npt.NDArray[Any]:
    """The tensor that `torch._utils._rebuild_tensor_v2` and `_v3` make: a view of its storage, which others may share.

    Args:
        storage: where its elements are.
        offset: of its first element, in elements.
        size: its shape.
        stride: from one element to the next along each axis, in elements.
        dtype: what the elements are; the storage's own type if None.

    Returns:
        A view; where the storage has no data, an array of the same shape and type that holds nothing.

    Raises:
        Misfit: an element lies beyond the storage, or the shape has more elements than the storage: torch could make
            such a tensor (`expand`), and a small file of it memory without bounds.
    """
    if not isinstance(storage, Storage):
        raise Misfit("a tensor without a storage")
    dtype = dtype or storage.dtype or np.dtype(np.uint8)
    shape, steps = _naturals(size, "a shape"), _naturals(stride, "a stride")
    first, held = _natural(offset, "an offset"), storage.size // dtype.itemsize
    if len(shape) != len(steps):
        raise Misfit(f"a tensor with {len(shape)} axes and {len(steps)} strides")
    count = math.prod(shape)
    last = first + sum((axis - 1) * step for axis, step in zip(shape, steps, strict=True)) if count else -1
    if count > held or last >= held:
        where = f" from {first}" if first else ""
        raise Misfit(f"a tensor of shape {list(shape)}{where} does not fit its storage of {held} elements")
    if count == 0:
        return np.empty(shape, dtype)
    if storage.data is None:
        nothing: npt.NDArray[Any] = np.broadcast_to(np.zeros((), dtype), shape)
        return nothing
    width = dtype.itemsize
    found: npt.NDArray[Any] = np.ndarray(
        shape, dtype, storage.data, first * width, tuple(step * width for step in steps)
    )
    return found


def _naturals(values: object, what: str) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > _MOST_AXES:
        raise Misfit(f"{what} that is no tuple of at most {_MOST_AXES} numbers")
    return tuple(_natural(value, what) for value in values)


def _natural(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise Misfit(f"{what} that is no natural number")
    return value
