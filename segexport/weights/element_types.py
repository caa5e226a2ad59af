"""Element types under the names that checkpoints have for them, as NumPy has them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

_SMALL_FLOATS = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
}
"""What NumPy alone has not, and its own `kind` does not call floating: ml_dtypes registers them."""

TORCH: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128", "bool")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **_SMALL_FLOATS,
}
"""By torch's names less `torch.`. Those with no counterpart (complex32, integers of 1 to 7 bits) are not here."""

STORAGES: dict[str, np.dtype[Any]] = {
    f"{prefix}Storage": TORCH[name]
    for prefix, name in {
        "Double": "float64",
        "Float": "float32",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
        "ComplexDouble": "complex128",
        "ComplexFloat": "complex64",
    }.items()
}
"""By the names of torch's typed storages (`torch/storage.py`, `_dtype_to_storage_type_map`), which no longer exist but
in files."""

SAFETENSORS: dict[str, np.dtype[Any]] = {
    "F64": TORCH["float64"],
    "F32": TORCH["float32"],
    "F16": TORCH["float16"],
    "BF16": TORCH["bfloat16"],
    "F8_E4M3": TORCH["float8_e4m3fn"],
    "F8_E5M2": TORCH["float8_e5m2"],
    "C64": TORCH["complex64"],
    "BOOL": TORCH["bool"],
    **{
        f"{sign}{bits}": TORCH[f"{name}{bits}"]
        for sign, name in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""By the names in a safetensors header."""


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether it is what torch calls floating point: also bfloat16 and the 8-bit floats, but no complex numbers."""
    return dtype.kind == "f" or dtype in _SMALL_FLOATS.values()


def as_float32(tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A floating tensor as float32, the same object if it is one; any other tensor as it is."""
    if not is_floating(tensor.dtype):
        return tensor
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinity, as in torch
        return tensor.astype(np.float32, copy=False)
