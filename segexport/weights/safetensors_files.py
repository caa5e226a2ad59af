"""A safetensors file -> shapes and NumPy arrays.

The format (https://github.com/huggingface/safetensors): the header's length in 8 bytes, little-endian; the header,
JSON with each tensor's type, shape and place; the values. The safetensors package checks all of that against the
file's length. Its NumPy part reads bfloat16 in some releases, and in those only where ml_dtypes was imported before:
the values are read here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from segexport.errors import CheckpointError
from segexport.weights.element_types import SAFETENSORS


def shapes(path: Path) -> dict[str, list[int]]:
    """Every tensor's shape by name; of the file nothing but the header is read.

    Raises:
        CheckpointError: truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}): copy the checkpoint again") from error


def tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor by name, of its own type (bfloat16 and 8-bit floats as ml_dtypes has them).

    Raises:
        CheckpointError: truncated, no safetensors file, or with a type that NumPy has not.
    """
    names = shapes(path)
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            values = np.fromfile(file, np.uint8)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}): copy the checkpoint again") from error
    found = {}
    for name, shape in names.items():
        entry = header[name]
        dtype = SAFETENSORS.get(entry["dtype"])
        if dtype is None:
            raise CheckpointError(f"{path} has {name} as {entry['dtype']}, which cannot be read: save it as F32")
        start, end = entry["data_offsets"]
        # Writers that do not pad the header leave values at odd places, where NumPy is slow and torch fails.
        found[name] = np.require(values[start:end].view(dtype).reshape(shape), requirements="A")
    return found
