"""Whether a checkpoint holds exactly the tensors of the SegFormer that its config.json describes."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence

from segexport.errors import CheckpointError
from segexport.segformer import names
from segexport.segformer.parameters import parameters
from segexport.segformer.structure import Structure

_SHOWN = 3
_BLOCK = re.compile(r"segformer\.encoder\.block\.(\d+)\.(\d+)\.")
_HARMLESS = {
    "position_ids": "numbers that older releases of transformers stored",
    names.CLASSIFIER: "of an image classifier, which the decode head replaced",
}


def account(
    structure: Structure, shapes: Mapping[str, Sequence[int]], ignore_unused: Sequence[str], where: str
) -> tuple[tuple[str, ...], str | None]:
    """See that every tensor is used exactly once.

    Args:
        structure: what config.json describes.
        shapes: of the tensors that are there, by their names on disk.
        ignore_unused: names, or patterns of them, of tensors that may be left out although no SegFormer has them.
        where: the checkpoint, for messages.

    Returns:
        The tensors that `ignore_unused` left out, and a line for all that was left out, if anything was.

    Raises:
        CheckpointError: config.json contradicts the weights, or tensors are missing, left over or of another shape.
    """
    wanted = parameters(structure)
    if lines := contradictions(structure, shapes):
        remedy = "correct config.json, or copy the file that was saved with these weights"
        raise CheckpointError("\n".join(f"{where}: {line}: {remedy}" for line in lines))
    missing = [name for name in wanted if name not in shapes]
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} weights ({some(missing)}): they would have been filled with random values; "
            "pass a complete checkpoint"
        )
    for name, shape in wanted.items():
        if tuple(shapes[name]) != shape:
            raise CheckpointError(
                f"{where}: {name} has shape {list(shapes[name])}, and a SegFormer of its config.json has "
                f"{list(shape)}: copy the checkpoint again"
            )
    unused = [name for name in shapes if name not in wanted and not name.endswith(names.COUNTER)]
    known = {name: reason for name in unused if (reason := harmless(name, structure))}
    for pattern in ignore_unused:
        if not fnmatch.filter([name for name in unused if name not in known], pattern):
            raise CheckpointError(f"{where} has no unused tensor {pattern}: leave out --ignore-unused {pattern}")
    ignored = [name for name in unused if any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore_unused)]
    refused = [name for name in unused if name not in known and name not in ignored]
    if refused:
        raise CheckpointError(
            f"{where} has {len(refused)} tensors that no SegFormer has ({some(refused)}), so it computes something "
            "else: export it where its code is; or, if the network does not need them, pass --ignore-unused "
            f"'{refused[0]}'"
        )
    said = {**known, **dict.fromkeys(ignored, "as --ignore-unused says")}
    return tuple(ignored), left_out(said)


def harmless(name: str, structure: Structure) -> str | None:
    """Why a tensor that is in no SegFormer of this head may be left out; None if it may not."""
    if name.endswith(".position_ids") or name == "position_ids":
        return _HARMLESS["position_ids"]
    if structure.head == "segmentation" and name in (f"{names.CLASSIFIER}.weight", f"{names.CLASSIFIER}.bias"):
        return _HARMLESS[names.CLASSIFIER]
    return None


def left_out(reasons: Mapping[str, str]) -> str | None:
    """One line for the tensors that are not in the model, by the reason for it."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(found[:2])}{', ...' if len(found) > 2 else ''} ({why})" for why, found in by_reason.items()]
    return f"left out: {'; '.join(parts)}" if parts else None


def contradictions(structure: Structure, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Keys of config.json that say otherwise than the weights, a line each: the key, its value, and theirs.

    Strides and attention heads are in no tensor's shape, so those cannot contradict it.
    """
    told = _told(shapes, structure.stages)
    said = {
        "num_channels": structure.channels,
        "depths": list(structure.depths),
        "hidden_sizes": list(structure.widths),
        "patch_sizes": list(structure.patches),
        "sr_ratios": list(structure.reductions),
        "mlp_ratios": [structure.hidden(i) / width for i, width in enumerate(structure.widths)],
        "decoder_hidden_size": structure.decoder,
    }
    return [
        f"{key} is {_plain(value)} in config.json and {_plain(told[key])} in the weights"
        for key, value in said.items()
        if key in told and told[key] != value
    ]


def _told(shapes: Mapping[str, Sequence[int]], stages: int) -> dict[str, object]:
    """What the shapes of tensors say about the keys of config.json, as far as those tensors are there."""
    embeddings = [shapes.get(names.disk_name(f"{names.embedding(i)}.proj.weight"), ()) for i in range(stages)]
    if not all(len(shape) == 4 for shape in embeddings):
        return {}
    widths = [shape[0] for shape in embeddings]
    depths = [0] * stages
    reductions = [1] * stages
    hidden = [0] * stages
    for name, shape in shapes.items():
        found = _BLOCK.match(name)
        if found and int(found[1]) < stages:
            i = int(found[1])
            depths[i] = max(depths[i], int(found[2]) + 1)
            reductions[i] = shape[-1] if name.endswith("attention.self.sr.weight") else reductions[i]
            hidden[i] = shape[0] if name.endswith("mlp.dense1.weight") else hidden[i]
    told: dict[str, object] = {
        "num_channels": embeddings[0][1],
        "depths": depths,
        "hidden_sizes": widths,
        "patch_sizes": [shape[-1] for shape in embeddings],
        "sr_ratios": reductions,
        "mlp_ratios": [count / width for count, width in zip(hidden, widths, strict=True)],
    }
    if (fuse := shapes.get(f"{names.FUSE}.weight")) is not None:
        told["decoder_hidden_size"] = fuse[0]
    return told


def _plain(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def some(found: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
