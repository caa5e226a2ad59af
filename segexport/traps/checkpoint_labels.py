"""Traps in what a checkpoint's configuration says of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from segexport.segformer.names import LAST_LAYERS
from segexport.spec import IGNORE_INDEX
from segexport.traps.trap import Trap

_HEADS = tuple(f"{layer}.weight" for layer in LAST_LAYERS.values())
_ADE = 150


def label_traps(
    folder: Path,
    config: Mapping[str, Any],
    processor: Mapping[str, Any] | None,
    tensors: Mapping[str, npt.NDArray[Any]] | None,
    *,
    own: bool = True,
) -> list[Trap]:
    """Judge `config.json` against the head's weights and the processor's file, where those could be read.

    `own` says whether the folder is the user's, to be changed, and not the hub's cache.
    """
    where = str(folder / "config.json")
    target = str((folder / "config.json").resolve()) if own else "YOUR_COPY/config.json"
    names = _names(config)
    head = next((len(tensors[name]) for name in _HEADS if name in tensors), None) if tensors else None
    segments = tensors is not None and _HEADS[0] in tensors
    found = [
        *_of_names(where, names, head, target),
        *_of_inverse(where, config, names, target),
    ]
    if segments:
        found += _of_segmentation(where, config, target)
        found += _of_reduction(folder, processor, head or 0)
    return found


def _names(config: Mapping[str, Any]) -> dict[int, str] | None:
    try:
        return {int(key): str(name) for key, name in config["id2label"].items()}
    except (KeyError, AttributeError, ValueError, TypeError):
        return None


def _of_names(where: str, names: dict[int, str] | None, head: int | None, target: str) -> list[Trap]:
    if not names:
        count = head or 2
        return [_no_names(where, "id2label is missing or no table of ids", _edit(target, _numbered(count)))]
    found = []
    if head is not None and len(names) != head:
        off = (
            "; one more is what counting the background, or the class 0 that do_reduce_labels takes away, as a class "
            "looks like"
            if len(names) == head + 1
            else ""
        )
        found.append(
            Trap(
                "labels-and-head-differ",
                "error",
                where,
                f"the head has {head} outputs and id2label names {len(names)} classes{off}",
                "classes would be shown under the names of others, and transformers does not load it",
                f"name {head} classes in id2label and label2id, or fine-tune with {len(names)}",
                _edit(target, _numbered(head, names)),
            )
        )
    elif sorted(names) != list(range(len(names))):
        found.append(
            Trap(
                "label-ids-with-gaps",
                "error",
                where,
                f"id2label has {len(names)} ids from {min(names)} to {max(names)}",
                "the head's outputs are 0, 1, 2, ...: names are off from the first gap on",
                "number the classes from 0 without gaps",
                _edit(target, _numbered(len(names), dict(enumerate(names[key] for key in sorted(names))))),
            )
        )
    if all(name == f"LABEL_{key}" for key, name in names.items()):
        found.append(_no_names(where, f"classes are called LABEL_0 to LABEL_{len(names) - 1}", ""))
    return found


def _no_names(where: str, detail: str, code: str) -> Trap:
    why = "results by class cannot be read, and classes in another order would not be noticed"
    return Trap("no-class-names", "warning", where, detail, why, "write the classes' names into id2label", code)


def _of_inverse(where: str, config: Mapping[str, Any], names: dict[int, str] | None, target: str) -> list[Trap]:
    inverse = config.get("label2id")
    if not names or inverse == {name: key for key, name in names.items()}:
        return []
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if inverse is None or (twice and isinstance(inverse, dict) and set(inverse) == set(names.values())):
        return []
    return [
        Trap(
            "label2id-not-inverse",
            "warning",
            where,
            "label2id is not id2label the other way round",
            "a training that maps names to ids with it learns other classes than it reports",
            "make it of id2label",
            _edit(target, {"label2id": {name: key for key, name in names.items()}}),
        )
    ]


def _of_segmentation(where: str, config: Mapping[str, Any], target: str) -> list[Trap]:
    found = []
    ignored = config.get("semantic_loss_ignore_index", IGNORE_INDEX)
    if ignored != IGNORE_INDEX:
        found.append(
            Trap(
                "other-ignore-index",
                "warning",
                where,
                f"semantic_loss_ignore_index is {ignored}",
                f"{IGNORE_INDEX}, which masks and processor call unlabelled, is a class to transformers' own loss, or "
                "makes it fail",
                f"set it to {IGNORE_INDEX}",
                _edit(target, {"semantic_loss_ignore_index": IGNORE_INDEX}),
            )
        )
    if config.get("reshape_last_stage", True) is False:
        found.append(
            Trap(
                "last-stage-not-reshaped",
                "error",
                where,
                "reshape_last_stage is false, as in the ImageNet classifiers",
                "the decode head takes the last stage's plane for a square: images that are none fail",
                "set it to true, which changes no weight",
                _edit(target, {"reshape_last_stage": True}),
            )
        )
    return found


def _of_reduction(folder: Path, processor: Mapping[str, Any] | None, classes: int) -> list[Trap]:
    if processor is None:
        return []
    keys = ("do_reduce_labels", "reduce_labels", "reduce_zero_label")
    reduces = bool(next((processor[key] for key in keys if processor.get(key) is not None), False))
    if reduces == (classes == _ADE):
        return []
    if reduces:
        detail = f"do_reduce_labels is true, with {classes} classes"
        why = "masks lose their class 0 and all others move by one: right for ADE20K's data and its 150 classes alone"
    else:
        detail = f"do_reduce_labels is false, with {_ADE} classes as ADE20K has"
        why = "ADE20K's masks count from 1, with 0 for unlabelled: every class would be the next one's"
    fix = f"set it to {str(not reduces).lower()}, unless the masks that it was trained on are otherwise"
    return [Trap("labels-reduced" if reduces else "labels-not-reduced", "warning", str(folder), detail, why, fix)]


def _numbered(count: int, names: Mapping[int, str] | None = None) -> dict[str, Any]:
    found = {i: (names or {}).get(i, f"LABEL_{i}") for i in range(count)}
    return {"id2label": {str(i): name for i, name in found.items()}, "label2id": {n: i for i, n in found.items()}}


def _edit(target: str, changes: Mapping[str, Any]) -> str:
    """Python that changes entries of config.json, in place."""
    return (
        "import json\nfrom pathlib import Path\n\n"
        f"path = Path({target!r})\n"
        "content = json.loads(path.read_text())\n"
        f"content.update({dict(changes)!r})\n"
        "path.write_text(json.dumps(content, indent=2))\n"
    )
