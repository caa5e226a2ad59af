"""Reading an ONNX file that anybody may have written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from segexport.errors import DataError

_REMEDY = "pass an .onnx file, or a bundle made by segexport build"


def load_model(path: Path) -> ir.Model:
    """Read an ONNX file. Weights in files beside it are read when they are used, and need not be there.

    Raises:
        DataError: no such file, or not ONNX: what is empty or garbage is often a message without fields to protobuf.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file: {_REMEDY}")
    try:
        with _quiet():
            model = ir.load(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): {_REMEDY}") from error
    except Exception as error:  # protobuf, onnx_ir and their readers of tensors each have their own
        raise DataError(f"{path} is not ONNX, or damaged ({type(error).__name__}): {_REMEDY}") from error
    if not model.opset_imports:
        raise DataError(f"{path} is not ONNX (it names no operator set): {_REMEDY}")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnx_ir's warnings on standard error: what is wrong with a graph is for the caller to say."""
    log = logging.getLogger("onnx_ir")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
