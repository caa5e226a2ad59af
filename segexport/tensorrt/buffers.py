"""Memory of an engine's inputs and outputs: on the GPU, and pinned on the host."""

from __future__ import annotations

import ctypes
import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.tensorrt.cudart import Cuda


class Buffer:
    """Bytes on the GPU and as many, pinned, on the host, allocated once for the largest shape they hold."""

    def __init__(self, cuda: Cuda, capacity: int, stack: ExitStack) -> None:
        """Args: the GPU; bytes; what frees both when it closes."""
        self.capacity = capacity
        self.device = cuda.malloc(capacity)
        stack.callback(cuda.free, self.device)
        self.host = cuda.malloc_host(capacity)
        stack.callback(cuda.free_host, self.host)
        self._cuda = cuda

    def view(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The host's bytes as an array, which stays valid until they are freed."""
        size = bytes_of(shape, dtype)
        assert size <= self.capacity, f"{shape} takes {size} bytes of {self.capacity}"
        held = (ctypes.c_uint8 * size).from_address(self.host)
        return np.ctypeslib.as_array(held).view(dtype).reshape(shape)

    def to_device(self, size: int, stream: Any) -> None:
        """Start copying the first `size` bytes to the GPU."""
        self._cuda.to_device(self.device, self.host, size, stream)

    def to_host(self, size: int, stream: Any) -> None:
        """Start copying the first `size` bytes to the host."""
        self._cuda.to_host(self.host, self.device, size, stream)


def bytes_of(shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
    """What an array of this shape takes."""
    return math.prod(shape) * np.dtype(dtype).itemsize
