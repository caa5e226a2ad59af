"""A `.pth` file -> its tensors by name, and what its `meta` says. Nothing in the file is ever executed."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexport.errors import CheckpointError, EngineUnavailable

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model")
_PREFIX = "module."  # of DataParallel and DistributedDataParallel


@dataclass(frozen=True)
class Contents:
    """Tensors under the file's names, less `module.`; its `meta`; and what else it holds (optimizer and so on)."""

    tensors: dict[str, torch.Tensor] = field(repr=False)
    meta: dict[str, Any] = field(repr=False)
    others: tuple[str, ...] = ()


def read(path: Path) -> Contents:
    """Read a checkpoint with `torch.load(weights_only=True)`, on the CPU.

    Taken are a state dict, and one under `state_dict` or `model` as mmcv, mmengine and timm write it.

    Raises:
        CheckpointError: truncated, no PyTorch file, no state dict in it, or a pickle that would have to run code.
        EngineUnavailable: torch is not installed.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__} and no weights: save the model's state_dict()")
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


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        # The words of weights.INSTALL, which imports this package.
        raise EngineUnavailable(f'PyTorch is needed to read {path}: pip install "segexport[train]"') from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: pass the path of a .pth file") from None
    except MemoryError:
        raise
    except Exception as error:
        # torch raises whatever its zip reader and unpickler meet: pickle, zip, EOF, Key and Runtime errors.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and wanted:
        return CheckpointError(
            f"{path} holds {wanted[1]} beside its weights, which could run code when loaded, and was not: if you trust "
            "the file, resave its tensors where it was trained: python -c \"import torch; c = torch.load('IN.pth', "
            "weights_only=False); torch.save({'state_dict': c.get('state_dict', c)}, 'OUT.pth')\""
        )
    if "TorchScript" in text:
        return CheckpointError(f"{path} is a TorchScript program: save the model's state_dict() and pass that")
    if isinstance(error, OSError) and error.strerror:
        return CheckpointError(f"{path} cannot be read ({error.strerror}): correct its permissions or copy it again")
    reason = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if isinstance(error, pickle.UnpicklingError):
        reason = "it is no pickle of tensors"
    return CheckpointError(f"{path} is truncated or no PyTorch file ({reason[:120]}): copy or download it again")


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _others(content: Mapping[Any, Any]) -> list[str]:
    return [str(name) for name, value in content.items() if not _is_tensor(value)]
