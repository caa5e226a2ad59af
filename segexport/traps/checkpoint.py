"""Known traps in a checkpoint: its processor run on an image, its labels, its weights. Works on broken ones too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy.typing as npt

from segexport import checkpoint, original, weights
from segexport.errors import CheckpointError, SegexportError
from segexport.processor import find_processor
from segexport.segformer.config import read_config
from segexport.traps.checkpoint_labels import label_traps
from segexport.traps.checkpoint_processor import file_traps, first_image, processor_traps
from segexport.traps.checkpoint_weights import tensor_traps
from segexport.traps.trap import Trap


def examine_checkpoint(path_or_name: str | Path, *, data: str | Path | None = None) -> tuple[Trap, ...]:
    """Look for the known traps in a checkpoint: a folder, a `.pth` file, a hub id or an alias.

    Args:
        path_or_name: as `checkpoint.load` takes it. What that refuses is examined as far as it goes.
        data: labelled images, of which the first is what the processor is run on; a generated scene if None.

    Returns:
        What was found, errors first. Empty: nothing.

    Raises:
        DataError: `data` cannot be read.
        EngineUnavailable: torch or transformers is not installed.
    """
    name = str(path_or_name)
    image = first_image(data)
    try:
        found = checkpoint.find(name)
    except CheckpointError as error:
        return (_stopped("checkpoint-not-found", name, error),)
    if found.file is not None:
        traps = _file(found.file)
    else:
        assert found.folder is not None
        traps = _folder(found.folder, own=found.commit is None)
        if (path := find_processor(found.folder)) is not None:
            traps += processor_traps(path, image, own=found.commit is None)
    if not any(trap.severity == "error" for trap in traps):
        try:
            checkpoint.load(name)
        except CheckpointError as error:
            if not any(trap.name == "no-head" for trap in traps):
                traps.append(_stopped("checkpoint-not-loaded", name, error))
    return tuple(sorted(traps, key=lambda trap: trap.severity != "error"))


def _folder(folder: Path, *, own: bool) -> list[Trap]:
    traps: list[Trap] = []
    config: dict[str, Any] | None = None
    tensors: dict[str, npt.NDArray[Any]] | None = None
    try:
        config = read_config(folder)
    except CheckpointError as error:
        traps.append(_stopped("configuration-unreadable", str(folder / "config.json"), error))
    try:
        tensors = weights.read_tensors(weights.find(folder))
    except CheckpointError as error:
        traps.append(_stopped("weights-unreadable", str(folder), error))
    if tensors is not None:
        traps += tensor_traps(str(folder), config, tensors)
    if config is not None:
        path = find_processor(folder)
        traps += label_traps(folder, config, _json(path) if path else None, tensors, own=own)
        traps += file_traps(folder, path, own=own)
    return traps


def _file(path: Path) -> list[Trap]:
    try:
        contents = original.read(path)
        converted = original.convert(contents.tensors, path)
    except CheckpointError as error:
        return [_stopped("weights-unreadable", str(path), error)]
    labels, note = original.labels_of(contents.meta, converted.structure)
    config = converted.structure.config(labels.names)
    traps = tensor_traps(str(path), config, original.folded(converted.tensors))
    traps.append(
        Trap(
            "no-processor",
            "warning",
            str(path),
            "a .pth file does not say how its images were prepared",
            "1/255 and ImageNet mean and std are assumed; a training that did otherwise gives a worse result here",
            "check img_norm_cfg or data_preprocessor in the training's configuration",
        )
    )
    if note is not None and converted.structure.head is not None:
        traps.append(
            Trap(
                "no-class-names",
                "warning",
                str(path),
                note,
                "results by class cannot be read, and classes in another order would not be noticed",
                "check the order of the classes in the training's configuration",
            )
        )
    return traps


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(content.get("image_processor", content)) if isinstance(content, dict) else None


def _stopped(name: str, where: str, error: SegexportError) -> Trap:
    """What could not be looked into: the message has the remedy behind its last colon."""
    detail, _, fix = str(error).rpartition(": ")
    return Trap(name, "error", where, detail or fix, "nothing can be built, measured or trained with it", fix)
