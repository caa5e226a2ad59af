"""The part of segexport that is compiled: class maps from logits, by `runtime/include/segexport/class_map.hpp`.

Built with the package wherever there is a C++ compiler, and left out where there is none: `available` says which.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import MAX_CLASSES, Size

MISSING = (
    "this installation of segexport has no compiled part: install a C++ compiler (such as g++) and reinstall segexport"
)


def available() -> bool:
    """Whether the compiled part was built with this installation."""
    return _module() is not None


def class_map(logits: npt.NDArray[np.float32], size: Size, threads: int) -> npt.NDArray[np.uint8]:
    """Bilinear upsampling and argmax in one go, exactly what the two after each other give.

    Args:
        logits: float32 [N, h, w, classes], finite, C-contiguous, at most 255 classes.
        size: height and width of the class map.
        threads: how many share the work.

    Returns:
        uint8 [N, *size] class ids, ties to the lowest.

    Raises:
        ContractError: another shape or dtype.
        EngineUnavailable: the compiled part was not built.
    """
    module = _checked(logits, size, threads)
    found = np.empty((len(logits), *size), np.uint8)
    module.class_map(np.ascontiguousarray(logits), found, threads)
    return found


def confidence(logits: npt.NDArray[np.float32], size: Size, threads: int) -> npt.NDArray[np.float32]:
    """How sure a class map is: the softmax of the logits, upsampled as for `class_map`, of the class that won.

    Args and errors: those of `class_map`.

    Returns:
        float32 [N, *size], from 1 / classes to 1.
    """
    module = _checked(logits, size, threads)
    found = np.empty((len(logits), *size), np.float32)
    module.confidence(np.ascontiguousarray(logits), np.empty(found.shape, np.uint8), found, threads)
    return found


def _checked(logits: npt.NDArray[np.float32], size: Size, threads: int) -> Any:
    """The compiled part, if it can serve this."""
    module = _module()
    if module is None:
        raise EngineUnavailable(MISSING)
    if logits.dtype != np.float32 or logits.ndim != 4 or 0 in logits.shape[1:] or logits.shape[3] > MAX_CLASSES:
        raise ContractError(
            f"logits are {logits.dtype} {list(logits.shape)}: pass float32 [N, h, w, classes] with at most 255 classes"
        )
    if min(*size, threads) < 1:
        raise ContractError(f"no class map of {size[0]}x{size[1]} by {threads} threads: all must be 1 or more")
    return module


def _module() -> Any:
    try:
        return importlib.import_module("segexport.native._class_map")
    except ImportError:  # not built, or built for another C++ library
        return None
