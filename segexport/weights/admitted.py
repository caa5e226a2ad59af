"""The names that a pickle of tensors may refer to, and what each becomes: plain values, storages and NumPy arrays.

They are those that `torch.load(weights_only=True)` admits by default (`torch/_weights_only_unpickler.py`,
`_get_allowed_globals`), as far as NumPy has what they make. None of torch's own functions is ever called: each name
stands for a function of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.weights import element_types
from segexport.weights.storages import Misfit, tensor

_MOST_KEY_PARTS = 16
_SHOWN = 120
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules that protocol 2, torch's, writes under the names of Python 2."""


class Refused(ValueError):
    """A name that is not admitted: `name` would be called, or imported, when the file is loaded."""

    def __init__(self, name: str) -> None:
        self.name = in_one_line(name)
        super().__init__(f"{self.name} is not admitted")


class Unsupported(ValueError):
    """A tensor that torch would load and NumPy has no counterpart for; the text says what it is."""


@dataclass(frozen=True)
class Function:
    """What a pickle may call."""

    call: Callable[..., Any]


@dataclass(frozen=True)
class StorageType:
    """The type of a storage's elements; None for an UntypedStorage."""

    dtype: np.dtype[Any] | None


def in_one_line(text: str) -> str:
    """Text from a file, fit for a message whatever is in it: one line, of bounded length, ASCII."""
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())[:_SHOWN]


def find(module: str, name: str) -> Function | StorageType | str:
    """What a pickle gets for the name `module.name`. Element types become their names, as plain text.

    Raises:
        Refused: the name is not admitted.
        Unsupported: it makes tensors that NumPy has not.
    """
    full = f"{_PYTHON_2.get(module, module)}.{name}"
    if full in _FUNCTIONS:
        return _FUNCTIONS[full]
    if full in _OTHER_TENSORS:
        raise Unsupported(f"a {_OTHER_TENSORS[full]} tensor")
    if full == "torch.storage.UntypedStorage":
        return StorageType(None)
    if module in ("torch", "torch.cuda") and name in element_types.STORAGES:
        return StorageType(element_types.STORAGES[name])
    if module == "torch" and name in element_types.TORCH:
        return full
    if module == "torch" and name in _OTHER_TYPES:
        raise Unsupported(f"a tensor of {name}")
    raise Refused(full.removeprefix("builtins."))


def is_key(value: object, parts: int = _MOST_KEY_PARTS) -> bool:
    """Whether it may be a key: text, a number, or a short tuple of those. Others could be hashed without end."""
    if isinstance(value, tuple):
        return len(value) <= parts and all(is_key(part, 0) for part in value)
    return value is None or isinstance(value, str | bytes | int | float | complex)


def _dictionary(pairs: object = ()) -> dict[Any, Any]:
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    if not isinstance(pairs, list | tuple):
        raise ValueError("a dictionary of no pairs")
    found = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not is_key(pair[0]):
            raise ValueError("a dictionary of no pairs")
        found[pair[0]] = pair[1]
    return found


def _set(values: object = ()) -> set[Any]:
    if not isinstance(values, list | tuple) or not all(is_key(value) for value in values):
        raise ValueError("a set of what cannot be hashed")
    return set(values)


def _size(values: object = ()) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, int) for value in values):
        raise ValueError("a torch.Size of no numbers")
    return tuple(values)


def _device(kind: object, index: object = None) -> str:
    if not isinstance(kind, str) or not (index is None or isinstance(index, int)):
        raise ValueError("a torch.device of no name")
    return kind if index is None else f"{kind}:{index}"


def _complex(real: object, imaginary: object = 0.0) -> complex:
    if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
        raise ValueError("a complex number of no numbers")
    return complex(real, imaginary)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """What Python 3 writes for bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown encoding")
    return text.encode("latin-1")


def _bytes(content: object = b"", encoding: object = "latin-1") -> bytes:
    # A number would be a length, of any size.
    return content if isinstance(content, bytes) else _encode(content, encoding)


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError("a layout of no name")
    return name


def _tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = False,
    backward_hooks: object = None,
    metadata: object = None,
) -> npt.NDArray[Any]:
    """`_rebuild_tensor`, with 4 arguments, and `_rebuild_tensor_v2`."""
    _refuse_marks(metadata)
    return tensor(storage, offset, size, stride)


def _tensor_of_type(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    backward_hooks: object,
    dtype: object,
    metadata: object = None,
) -> npt.NDArray[Any]:
    """`_rebuild_tensor_v3`, which torch writes for types that have no storage of their own."""
    _refuse_marks(metadata)
    return tensor(storage, offset, size, stride, _element_type(dtype))


def _parameter(data: object, *others: object) -> npt.NDArray[Any]:
    """`_rebuild_parameter`, `_rebuild_parameter_with_state` and `Parameter` itself: the tensor in it."""
    if not isinstance(data, np.ndarray):
        raise ValueError("a parameter without a tensor")
    return data


def _from_other_device(data: object, dtype: object, device: object, requires_grad: object) -> npt.NDArray[Any]:
    """`_rebuild_device_tensor_from_cpu_tensor`, which is written for devices that torch cannot read storages of."""
    return _parameter(data).astype(_element_type(dtype), copy=False)


def _of_subclass(function: object, kind: object, arguments: object, state: object) -> npt.NDArray[Any]:
    """`_rebuild_from_type_v2`: a tensor with attributes, less these."""
    # Not itself: such calls could be nested to any depth.
    if not isinstance(function, Function) or function.call not in _REBUILT or not isinstance(arguments, tuple):
        raise ValueError("a tensor that is made of none")
    found: npt.NDArray[Any] = function.call(*arguments)
    return found


def _refuse_marks(metadata: object) -> None:
    if isinstance(metadata, dict) and any(metadata.get(mark) for mark in ("conj", "neg")):
        raise Unsupported("a tensor whose conjugate or negative is yet to be computed")


def _element_type(name: object) -> np.dtype[Any]:
    found = element_types.TORCH.get(name.removeprefix("torch.")) if isinstance(name, str) else None
    if found is None:
        raise Misfit("a tensor of an unknown type")
    return found


def _never(*arguments: object) -> None:
    raise ValueError("a tensor that is made of none")


_REBUILT = (_tensor, _tensor_of_type, _parameter, _from_other_device)
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "builtins.set": _set,
    "builtins.complex": _complex,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encode,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.Tensor": _never,
    "torch.serialization._get_layout": _text,
    "torch.nn.parameter.Parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_other_device,
}
_FUNCTIONS = {name: Function(call) for name, call in _CALLS.items()}
_OTHER_TENSORS = {
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta",
    "torch._utils._rebuild_wrapper_subclass": "wrapped",
}
_OTHER_TYPES = {
    "complex32",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    *(f"{kind}Storage" for kind in ("QInt8", "QInt32", "QUInt8", "QUInt4x2", "QUInt2x4")),
}
