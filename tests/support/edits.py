"""Changes to files that make good checkpoints and bundles bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any]], dict[str, Any]]


def edit_json(path: Path, **changes: Any) -> None:
    """Change a JSON file's top-level entries; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def edit_tensors(folder: Path, change: Change) -> None:
    """Change the tensors of a folder's safetensors."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path, change: Change = lambda tensors: tensors) -> Path:
    """Replace the folder's safetensors by the pytorch_model.bin of older checkpoints."""
    import torch
    from safetensors.torch import load_file

    torch.save(change(load_file(folder / "model.safetensors")), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def without(name: str) -> Change:
    """Leave one tensor out."""
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def truncate(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, position: int, bit: int = 1) -> None:
    """Change bits of one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)
