"""The weight files of a checkpoint's folder: which they are, what identifies them, and their tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from segexport.errors import CheckpointError
from segexport.files import sha256_of
from segexport.hub import WEIGHT_FILES
from segexport.segformer.names import disk_name
from segexport.weights import safetensors_files, state_dicts
from segexport.weights.element_types import as_float32

Value = TypeVar("Value")
_INDEX = ".index.json"


def find(folder: Path) -> list[Path]:
    """The folder's weight files, safetensors before pickles, every shard of a sharded checkpoint.

    Raises:
        CheckpointError: none, or a shard is missing.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.exists():
            continue
        if not name.endswith(_INDEX):
            return [path]
        shards = sorted(set(_weight_map(path).values()))
        missing = [shard for shard in shards if not (folder / shard).exists()]
        if missing:
            raise CheckpointError(f"{folder} lacks {missing[0]}, which {name} names: copy the checkpoint again")
        return [folder / shard for shard in shards]
    raise CheckpointError(
        f"{folder} has no weights (model.safetensors or pytorch_model.bin): copy the checkpoint again"
    )


def sha256(files: list[Path]) -> str:
    """SHA-256 of one weight file, or over the digests of all shards in name order."""
    digests = [sha256_of(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def shapes(files: list[Path]) -> dict[str, list[int]]:
    """Every tensor's shape by its name in the files, read without the values.

    Raises:
        CheckpointError: as `read_tensors` does, but that damage among the values is not noticed.
    """
    return _collected(files, _shapes_of)


def read_tensors(files: list[Path]) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of a checkpoint folder's files, under the names on disk of transformers 4.57 and 5.x.

    Floating tensors become float32, others are as they are. Tensors that share memory in a file do so here.

    Raises:
        CheckpointError: a file is truncated, a pickle that would have to run code, a tensor in two shards, or shards
            that are not what their index says.
    """
    found = _collected(files, _tensors_of)
    bare = not any(name.startswith("segformer.") for name in found)  # a SegformerModel without head
    return {disk_name(f"segformer.{name}" if bare else name): as_float32(tensor) for name, tensor in found.items()}


def _shapes_of(path: Path) -> dict[str, list[int]]:
    if path.suffix == ".safetensors":
        return safetensors_files.shapes(path)
    return {name: list(tensor.shape) for name, tensor in state_dicts.read(path, values=False).tensors.items()}


def _tensors_of(path: Path) -> dict[str, npt.NDArray[Any]]:
    return safetensors_files.tensors(path) if path.suffix == ".safetensors" else state_dicts.read(path).tensors


def _collected(files: list[Path], read: Callable[[Path], dict[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    holders: dict[str, str] = {}
    for path in files:
        for name, value in read(path).items():
            if name in found:
                raise CheckpointError(
                    f"{path} holds {name}, which {holders[name]} holds too: copy the checkpoint again"
                )
            found[name], holders[name] = value, path.name
    _compare_with_index(files, holders)
    return found


def _compare_with_index(files: list[Path], holders: dict[str, str]) -> None:
    """Shards against the index that named them; a whole file needs none, and may lie beside one that is out of date."""
    if not files or files[0].name in WEIGHT_FILES:
        return
    for index in (files[0].parent / name for name in WEIGHT_FILES if name.endswith(_INDEX)):
        weight_map = _weight_map(index) if index.exists() else {}
        if set(weight_map.values()) != {path.name for path in files}:
            continue
        for name in sorted(weight_map.keys() | holders.keys()):
            said, held = weight_map.get(name, "no file"), holders.get(name, "none of them")
            if said != held:
                raise CheckpointError(f"{index} has {name} in {said}, and {held} holds it: copy the checkpoint again")


def _weight_map(index: Path) -> dict[str, str]:
    """The name of the file by the name of the tensor."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read ({error!r}): copy the checkpoint again") from error
