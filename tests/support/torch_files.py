"""Files of `torch.save` for tests: tensors put in, and torch's own reading of them to compare with."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def as_torch(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """NumPy arrays as torch's tensors."""
    import torch

    return {name: torch.from_numpy(np.array(tensor, order="C")) for name, tensor in tensors.items()}


def as_numpy(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """torch's tensors of any type that `.numpy()` takes."""
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def saved(value: Any, *, zipped: bool = True, **options: Any) -> bytes:
    """What `torch.save` writes, in today's format or the older one."""
    import torch

    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped, **options)
    return file.getvalue()


def assert_same_bits(found: Any, expected: Any) -> None:
    """What was read without torch against what torch reads: the same values in the same order, tensors bit by bit."""
    import torch

    if isinstance(expected, torch.Tensor):
        tensor = expected.detach().contiguous()
        assert isinstance(found, np.ndarray)
        assert found.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert found.shape == tuple(tensor.shape)
        assert found.tobytes() == tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(expected, Mapping):
        assert isinstance(found, Mapping)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same_bits(found[key], value)
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list if isinstance(expected, list) else tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one, other)
    elif isinstance(expected, torch.dtype | torch.device):
        assert found == str(expected)
    else:
        assert type(found) is (bytes if isinstance(expected, bytearray) else type(expected))
        assert found == expected


def weights_sha256(model: Any) -> str:
    """A digest of a model's weights, whatever the installed transformers calls them."""
    from segexport.segformer.names import COUNTER, disk_name

    tensors = as_numpy(model.state_dict())
    return digest_of({disk_name(name): tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)})


def digest_of(tensors: Mapping[str, Array]) -> str:
    """The same digest of tensors by their names on disk."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()
