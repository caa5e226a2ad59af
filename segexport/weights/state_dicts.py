"""A `.pth` file -> its tensors by name, and what its `meta` says. Nothing in the file is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.errors import CheckpointError
from segexport.weights.pickles import load_pickle

_WRAPPERS = ("state_dict", "model")
_PREFIX = "module."  # of DataParallel and DistributedDataParallel


@dataclass(frozen=True)
class Contents:
    """Tensors under the file's names, less `module.`; its `meta`; and what else it holds (optimizer and so on)."""

    tensors: dict[str, npt.NDArray[Any]] = field(repr=False)
    meta: dict[str, Any] = field(repr=False)
    others: tuple[str, ...] = ()


def read(path: Path, *, values: bool = True) -> Contents:
    """Read a checkpoint that `torch.save` wrote.

    Taken are a state dict, and one under `state_dict` or `model` as mmcv, mmengine and timm write it.

    Args:
        path: the file.
        values: whether the tensors' values are wanted, or shapes and types alone (`load_pickle`).

    Returns:
        Tensors of the types that they have in the file.

    Raises:
        CheckpointError: truncated, no PyTorch file, no state dict in it, or a pickle that would have to run code.
    """
    content = load_pickle(path, values=values)
    if not isinstance(content, Mapping):
        kind = "Tensor" if _is_tensor(content) else type(content).__name__
        raise CheckpointError(f"{path} holds a {kind} and no weights: save the model's state_dict()")
    wrapper = next((name for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    found = content[wrapper] if wrapper else content
    meta = content.get("meta") if wrapper else None
    tensors = {str(name): value for name, value in found.items() if _is_tensor(value)}
    if not tensors:
        keys = ", ".join(str(key) for key in list(content)[:4]) or "nothing"
        raise CheckpointError(f"{path} has no weights (it holds {keys}): save the model's state_dict()")
    strange = [str(name) for name, value in found.items() if not _is_tensor(value)] if wrapper else []
    if strange:
        raise CheckpointError(
            f"{path}: {strange[0]} is no tensor: save the model's state_dict() and nothing else there"
        )
    if all(name.startswith(_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    others = [str(key) for key in content if key != wrapper] if wrapper else _others(content)
    return Contents(tensors, dict(meta) if isinstance(meta, Mapping) else {}, tuple(others))


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _others(content: Mapping[Any, Any]) -> list[str]:
    return [str(name) for name, value in content.items() if not _is_tensor(value)]
