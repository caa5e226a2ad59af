"""The model that training starts from: which weights are loaded, which are new, and whether that is as it should be."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from segexport import checkpoint, original, segformer, weights
from segexport.aliases import alias_config, alias_of, aliases
from segexport.errors import CheckpointError
from segexport.files import sha256_of
from segexport.processor import read_processor
from segexport.segformer import names, random_weights
from segexport.segformer.accounting import some
from segexport.segformer.config import read_config
from segexport.spec import IGNORE_INDEX, Labels, Preprocessing, Source
from segexport.weights import pytorch

if TYPE_CHECKING:
    from transformers import SegformerForSemanticSegmentation

_LAST = f"{names.SEGMENTER}."
_HEAD = f"{names.DECODE_HEAD}."
_ENCODER = f"{names.ENCODER}."


@dataclass(frozen=True)
class Start:
    """A model to train, and where its weights are from.

    `report` says it in lines to print; `new` names the parameters (as `model.named_parameters()` does) that were newly
    initialised; `preprocessing` is the checkpoint's own, or ImageNet's.
    """

    model: SegformerForSemanticSegmentation = field(repr=False)
    source: Source
    preprocessing: Preprocessing
    report: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class _Weights:
    """What a checkpoint has, whatever it was written by. `head` says what it was trained for, in words."""

    source: Source
    config: dict[str, Any]
    preprocessing: Preprocessing
    tensors: dict[str, npt.NDArray[Any]] = field(repr=False)
    head: str
    left_out: tuple[str, ...] = ()


def start(
    model: str | Path,
    labels: Labels,
    *,
    random_init: bool = False,
    revision: str | None = None,
    seed: int = 0,
    classifier_dropout: float | None = None,
    drop_path: float | None = None,
) -> Start:
    """A SegformerForSemanticSegmentation for `labels`, in training mode, fp32.

    New weights are drawn as the authors draw them (`segformer.random_weights`) from `seed`. A loss of
    transformers' own ignores 255.

    Args:
        model: what `checkpoint.load` takes, and encoders without a head.
        labels: the data's classes.
        random_init: the architecture alone, every weight new; an alias, or its hub id, then needs no network.
        revision: branch, tag or commit on the hub.
        seed: of the new weights.
        classifier_dropout: dropout before the last layer; the checkpoint's own (0.1) if None.
        drop_path: stochastic depth of the last block; the checkpoint's own (0.1) if None.

    Raises:
        CheckpointError: not found, not a SegFormer, or weights missing that are not expected to be: a whole head may be
            missing, an encoder's weight never.
        EngineUnavailable: torch or transformers is not installed.
    """
    options: dict[str, Any] = {"classifier_dropout_prob": classifier_dropout, "drop_path_rate": drop_path}
    options = {key: value for key, value in options.items() if value is not None}
    if random_init:
        return _random(str(model), labels, revision, seed, options)
    found = _read(str(model), revision)
    config = _config(found.config, labels, options)
    tensors, left_out = _chosen(found, labels)
    structure = segformer.Structure.of_config(config, "segmentation", len(labels))
    missing = {name for name in segformer.parameters(structure) if name not in tensors}
    _refuse_holes(missing, found, _LAST + "weight" in tensors)
    new = random_weights.draw(structure, seed, only=missing)
    network: Any = pytorch.complete_model("semantic-segmentation", config, {**tensors, **new}, found.source.id)
    report = _report(found, labels, tensors, list(new)) + [f"left out: {name}" for name in left_out]
    return Start(network.train(), found.source, found.preprocessing, tuple(report), _parameters(network, new))


def _random(name: str, labels: Labels, revision: str | None, seed: int, options: dict[str, Any]) -> Start:
    ids = {hub_id: alias for alias, hub_id in aliases().items()}
    alias = name if alias_of(name) else ids.get(name)
    preprocessing = Preprocessing()
    if alias is not None:
        config, identity = alias_config(alias), name
    else:
        found = checkpoint.find(name, revision)
        identity = found.identity
        if found.file is not None:
            config = original.convert(original.read(found.file).tensors, found.file).structure.config(())
        else:
            assert found.folder is not None
            config = read_config(found.folder)
            preprocessing = read_processor(found.folder, preprocessing.size)[0]
    config = _config(config, labels, options)
    structure = segformer.Structure.of_config(config, "segmentation", len(labels))
    tensors = random_weights.draw(structure, seed)
    network: Any = pytorch.complete_model("semantic-segmentation", config, tensors, identity)
    parameters = _parameters(network, tensors)
    source = Source(identity, None, random_weights.sha256(structure, seed), random_weights=True)
    line = f"all {len(parameters)} tensors newly initialised from seed {seed}, as the SegFormer authors do (as asked)"
    return Start(network.train(), source, preprocessing, (line,), parameters)


def _parameters(network: Any, new: Container[str]) -> tuple[str, ...]:
    """The parameters of a model that are among `new`, which has names as they are on disk."""
    return tuple(name for name, _ in network.named_parameters() if names.disk_name(name) in new)


def _config(config: dict[str, Any], labels: Labels, options: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in ("num_labels", "dtype", "torch_dtype")}
    return {
        **kept,
        **options,
        "architectures": ["SegformerForSemanticSegmentation"],
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
        "semantic_loss_ignore_index": IGNORE_INDEX,
        # The ImageNet checkpoints have False, with which the head takes the last stage's plane for a square.
        "reshape_last_stage": True,
    }


def _read(name: str, revision: str | None) -> _Weights:
    found = checkpoint.find(name, revision)
    if found.file is not None:
        return _from_file(found.file, found.identity)
    assert found.folder is not None
    config = read_config(found.folder)
    files = weights.find(found.folder)
    tensors = weights.read_tensors(files)
    source = Source(found.identity, found.commit, weights.sha256(files))
    return _Weights(
        source,
        config,
        read_processor(found.folder, Preprocessing().size)[0],
        tensors,
        "an encoder alone" if _head_of(tensors) is None else "",
    )


def _from_file(file: Path, identity: str) -> _Weights:
    contents = original.read(file)
    converted = original.convert(contents.tensors, file)
    labels, _ = original.labels_of(contents.meta, converted.structure)
    tensors, head = converted.tensors, "an encoder alone" if converted.structure.head is None else ""
    left_out = [f"{key} ({reason})" for key, reason in converted.left_out.items()]
    if converted.style == "mmsegmentation" and converted.structure.head == "segmentation":
        tensors = {key: value for key, value in tensors.items() if not key.startswith(_HEAD)}
        head = "mmsegmentation's, whose head has a BatchNorm and a ReLU behind each stage that transformers' has not"
        left_out = [f"decode_head ({converted.structure.classes} classes)"]
    return _Weights(
        Source(identity, None, sha256_of(file)),
        converted.structure.config(labels.names),
        Preprocessing(),
        tensors,
        head,
        tuple(left_out),
    )


def _head_of(tensors: dict[str, npt.NDArray[Any]]) -> str | None:
    return next((name for name in (_LAST + "weight", f"{names.CLASSIFIER}.weight") if name in tensors), None)


def _chosen(found: _Weights, labels: Labels) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """The tensors to load, and in words those that are not."""
    known = segformer.parameters(segformer.Structure.of_config(found.config, "segmentation", len(labels)))
    kept = {key: value for key, value in found.tensors.items() if key in known or key.endswith(names.COUNTER)}
    left_out = list(found.left_out)
    others = [key for key in found.tensors if key not in kept and not key.startswith(f"{names.CLASSIFIER}.")]
    if others:
        left_out.append(f"{some(others)} (no SegFormer's)")
    if f"{names.CLASSIFIER}.weight" in found.tensors:
        left_out.append(f"{names.CLASSIFIER} ({_classifier(found)})")
    last = kept.get(_LAST + "weight")
    if last is not None and len(last) != len(labels):
        kept = {key: value for key, value in kept.items() if not key.startswith(_LAST)}
    return kept, left_out


def _classifier(found: _Weights) -> str:
    classes = len(found.tensors[f"{names.CLASSIFIER}.weight"])
    return "1000 ImageNet classes" if classes == 1000 else f"{classes} classes of images"


def _refuse_holes(missing: set[str], found: _Weights, has_last: bool) -> None:
    """A whole head, or its last layer, may be new; anything else is a damaged checkpoint."""
    has_head = any(key.startswith(_HEAD) for key in found.tensors)
    holes = {key for key in missing if key.startswith(_ENCODER) or (has_head and not key.startswith(_LAST))}
    if has_last or (has_head and _LAST + "weight" not in found.tensors):
        holes |= {key for key in missing if key.startswith(_LAST)}
    if holes:
        raise CheckpointError(
            f"{found.source.id} lacks {len(holes)} weights ({some(sorted(holes))}): pass a complete checkpoint, or "
            "--random-init to train from random weights"
        )


def _report(found: _Weights, labels: Labels, tensors: dict[str, npt.NDArray[Any]], new: list[str]) -> list[str]:
    counted = [key for key in tensors if not key.endswith(names.COUNTER)]
    encoder = sum(key.startswith(_ENCODER) for key in counted)
    head = len(counted) - encoder
    lines = [f"encoder: {encoder} tensors loaded"]
    if not new:
        lines.append(f"decode head: {head} tensors loaded")
        return lines + _names_changed(found, labels)
    if head:
        classes = len(found.tensors[_LAST + "weight"])
        lines.append(f"decode head: {head} tensors loaded")
        lines.append(
            f"last layer: {len(new)} tensors newly initialised (expected: head of {classes} against {len(labels)} "
            "classes: its last layer is new)"
        )
        return lines
    classifier = "an ImageNet classifier" if len(found.tensors.get(f"{names.CLASSIFIER}.weight", ())) == 1000 else ""
    reason = found.head or classifier or "an image classifier"
    why = f"the checkpoint is {reason}" + ("" if "BatchNorm" in reason else ", and has none")
    lines.append(f"decode head: {len(new)} tensors newly initialised (expected: {why})")
    return lines


def _names_changed(found: _Weights, labels: Labels) -> list[str]:
    before = checkpoint.label_names(found.config, found.source.id)
    pairs = [(i, old, now) for i, (old, now) in enumerate(zip(before, labels.names, strict=False)) if old != now]
    if not pairs:
        return []
    index, old, now = pairs[0]
    return [
        f"last layer: kept, although {len(pairs)} of {len(labels)} classes have other names (class {index} was "
        f"'{old}', is '{now}'): it starts from what it knew of those ids"
    ]
