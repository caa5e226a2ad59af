"""From what a user names (folder, `.pth` file, hub id or alias) to a `Checkpoint`: facts about it, and the weights.

Everything except `Checkpoint.model` works without torch, but for `.pth` files, which only torch can read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexport import hub, original, weights
from segexport.data import read_json
from segexport.errors import CheckpointError
from segexport.files import sha256_of
from segexport.palette import palette_for
from segexport.processor import read_processor
from segexport.spec import Architecture, Labels, Preprocessing, Size, Source

if TYPE_CHECKING:
    import torch

_CLASSES: dict[str, Architecture] = {
    "SegformerForSemanticSegmentation": "semantic-segmentation",
    "SegformerForImageClassification": "image-classification",
}
_HEADS = {
    "semantic-segmentation": "decode_head.classifier.weight",
    "image-classification": "classifier.weight",
}
_RANDOM_SEED = 0
_NO_PROCESSOR = (
    "a .pth file has no processor: assuming rescale by 1/255, ImageNet mean and std (which the original's "
    "configurations have) and 512x512 pixels"
)


@dataclass(frozen=True)
class Checkpoint:
    """A SegFormer: where its weights are, what they mean, and what had to be assumed (`notes`)."""

    source: Source
    architecture: Architecture
    config: dict[str, Any] = field(repr=False)
    preprocessing: Preprocessing
    labels: Labels
    folder: Path | None
    notes: tuple[str, ...] = ()
    file: Path | None = None
    """The `.pth` file, of the original repository or mmsegmentation, that stands for a folder."""

    @property
    def default_size(self) -> Size:
        """The processor's own size."""
        return self.preprocessing.size

    def model(self, attention: str | None = None) -> torch.nn.Module:
        """The PyTorch model in eval mode, fp32, with every weight accounted for.

        Args:
            attention: transformers' `attn_implementation`; None takes its default, as a user would.

        Raises:
            CheckpointError: a weight is missing, truncated or of another shape.
            EngineUnavailable: torch or transformers is not installed.
        """
        if self.file is not None and not self.source.random_weights:
            return weights.load_original(self.architecture, self.file, self.config, attention)
        if self.folder is None or self.source.random_weights:
            return weights.random_model(self.architecture, self.config, _RANDOM_SEED, attention)
        return weights.load_model(self.architecture, self.folder, self.source.id, attention)


@dataclass(frozen=True)
class Found:
    """Where a checkpoint is: in a folder, or in a `.pth` file; and what identifies it."""

    identity: str
    folder: Path | None = None
    file: Path | None = None
    commit: str | None = None


def load(model: str | Path, *, revision: str | None = None, random_init: bool = False) -> Checkpoint:
    """Find a SegFormer checkpoint.

    Args:
        model: a folder in Hugging Face layout, a `.pth` file of NVlabs/SegFormer or mmsegmentation, a hub id
            (`owner/name`), or an alias (`b0` ... `b5` for ADE20K, `b0-cityscapes` ... for Cityscapes, `mit-b0` ... for
            the ImageNet classifiers).
        revision: branch, tag or commit on the hub.
        random_init: the same architecture with random weights (seed 0), for latency and parity only. An alias
            then needs no network.

    Raises:
        CheckpointError: not found, hub unreachable, not a SegFormer, truncated, or its head does not fit its labels.
        EngineUnavailable: a `.pth` file, and torch is not installed.
    """
    name = str(model)
    if random_init and (alias := alias_of(name)):
        reduce = read_json("aliases.json")["label_sets"][alias["labels"]]["reduce"]
        return _random(name, alias_config(name), Preprocessing(size=tuple(alias["size"])), reduce)
    found = find(name, revision)
    if found.file is not None:
        return _from_file(found.file, found.identity, random_init)
    assert found.folder is not None
    if random_init:
        config = read_config(found.folder)
        preprocessing, reduce, _ = read_processor(found.folder, (512, 512))
        return _random(found.identity, config, preprocessing, reduce, found.folder)
    return _from_folder(found.folder, found.identity, found.commit)


def find(model: str | Path, revision: str | None = None) -> Found:
    """Where the checkpoint is that a user names, fetched from the hub if it is there.

    Raises:
        CheckpointError: not found, or hub unreachable.
    """
    name, path = str(model), Path(model)
    if alias := alias_of(name):
        folder, commit = hub.fetch(alias["id"], revision)
        return Found(alias["id"], folder=folder, commit=commit)
    if path.is_dir():
        return Found(str(path.resolve()), folder=path)
    if name.endswith(original.SUFFIXES):
        if not path.is_file():
            raise CheckpointError(
                f"{name} does not exist: pass the path of a .pth file, a folder, a hub id or an alias"
            )
        return Found(str(path.resolve()), file=path)
    if _looks_like_path(name):
        raise CheckpointError(
            f"{name} is not a folder: pass a checkpoint's folder (config.json, model.safetensors), a .pth file of the "
            "original repository, a hub id or an alias"
        )
    folder, commit = hub.fetch(name, revision)
    return Found(name, folder=folder, commit=commit)


def alias_of(name: str) -> dict[str, Any] | None:
    """What an alias stands for, unless a checkpoint's folder has the name: a bundle may well be called b0."""
    entry: dict[str, Any] | None = read_json("aliases.json")["aliases"].get(name)
    return None if entry is None or (Path(name) / "config.json").exists() else entry


def aliases() -> dict[str, str]:
    """Every alias and the hub id it stands for."""
    return {name: entry["id"] for name, entry in read_json("aliases.json")["aliases"].items()}


def _looks_like_path(name: str) -> bool:
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _from_folder(folder: Path, identity: str, commit: str | None) -> Checkpoint:
    config = read_config(folder)
    files = weights.find(folder)
    shapes = weights.shapes(files)
    architecture = _architecture(folder, config, shapes)
    labels = label_names(config, str(folder))
    if shapes is not None:
        _check_head(folder, architecture, shapes, len(labels))
    preprocessing, reduce, note = read_processor(folder, (512, 512))
    return Checkpoint(
        source=Source(identity, commit, weights.sha256(files)),
        architecture=architecture,
        config=config,
        preprocessing=preprocessing,
        labels=Labels(labels, palette_for(labels), reduce),
        folder=folder,
        notes=(note,) if note else (),
    )


def _from_file(file: Path, identity: str, random_init: bool) -> Checkpoint:
    contents = original.read(file)
    converted = original.convert(contents.tensors, file)
    structure = converted.structure
    if structure.head is None:
        raise CheckpointError(f"{file} is an encoder without a head: fine-tune it first (segexport finetune --model)")
    labels, note = original.labels_of(contents.meta, structure)
    config = structure.config(labels.names)
    preprocessing = Preprocessing()
    if random_init:
        return _random(identity, config, preprocessing, labels.reduce)
    return Checkpoint(
        source=Source(identity, None, sha256_of(file)),
        architecture=_CLASSES[config["architectures"][0]],
        config=config,
        preprocessing=preprocessing,
        labels=labels,
        folder=None,
        notes=tuple(filter(None, (_NO_PROCESSOR, note, _left_out(converted)))),
        file=file,
    )


def _left_out(converted: original.Converted) -> str | None:
    """One line for the tensors of a `.pth` file that are not in the model."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in converted.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names[:2])}{', ...' if len(names) > 2 else ''} ({why})" for why, names in by_reason.items()]
    return f"left out: {'; '.join(parts)}" if parts else None


def _random(
    identity: str,
    config: dict[str, Any],
    preprocessing: Preprocessing,
    reduce: bool,
    folder: Path | None = None,
) -> Checkpoint:
    architecture = _CLASSES.get((config.get("architectures") or [""])[0], "semantic-segmentation")
    labels = label_names(config, identity)
    digest = weights.model_sha256(weights.random_model(architecture, config, _RANDOM_SEED, None))
    return Checkpoint(
        source=Source(identity, None, digest, random_weights=True),
        architecture=architecture,
        config=config,
        preprocessing=preprocessing,
        labels=Labels(labels, palette_for(labels), reduce),
        folder=folder,
        notes=("random weights: for latency and parity only, its masks mean nothing",),
    )


def alias_config(alias: str) -> dict[str, Any]:
    """The configuration of an alias's architecture, which needs no network."""
    table = read_json("aliases.json")
    entry = table["aliases"][alias]
    labels = table["label_sets"][entry["labels"]]
    names = labels.get("names") or [f"LABEL_{i}" for i in range(labels["count"])]
    class_name = next(c for c, a in _CLASSES.items() if a == entry["task"])
    return {
        **table["common"],
        **table["architectures"][entry["architecture"]],
        "architectures": [class_name],
        "id2label": {str(i): n for i, n in enumerate(names)},
        "label2id": {n: i for i, n in enumerate(names)},
    }


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `config.json`.

    Raises:
        CheckpointError: missing, no JSON, or not a SegFormer for RGB images.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no config.json: pass a folder written by save_pretrained") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): write the checkpoint again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "segformer":
        raise CheckpointError(f"{folder} is not a SegFormer (model_type is {kind!r}): segexport serves SegFormer only")
    if config.get("num_channels", 3) != 3:
        raise CheckpointError(f"{folder} takes {config['num_channels']} channels: segexport serves RGB images only")
    return dict(config)


def _architecture(folder: Path, config: dict[str, Any], shapes: dict[str, list[int]] | None) -> Architecture:
    name = (config.get("architectures") or [None])[0]
    if shapes is not None:
        found: list[Architecture] = [a for a in _CLASSES.values() if _HEADS[a] in shapes]
        if found:
            return found[0]
    elif name in _CLASSES:
        return _CLASSES[name]
    raise CheckpointError(
        f"{folder} has no head (its architecture is {name}): fine-tune it first, or pass a checkpoint of "
        "SegformerForSemanticSegmentation or SegformerForImageClassification"
    )


def label_names(config: dict[str, Any], name: str) -> tuple[str, ...]:
    """Class names by id, `LABEL_i` where the configuration has none; `name` is the checkpoint's, for messages.

    Raises:
        CheckpointError: `id2label` is no table of ids 0, 1, 2, ...
    """
    id2label = config.get("id2label")
    if not id2label:
        return tuple(f"LABEL_{i}" for i in range(int(config.get("num_labels", 2))))
    try:
        by_id = {int(k): str(v) for k, v in id2label.items()}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(
            f'{name}: id2label cannot be understood ({error}): write it into config.json as {{"0": "first class", ...}}'
        ) from error
    if sorted(by_id) != list(range(len(by_id))):
        raise CheckpointError(
            f"{name}: id2label skips ids: number the classes 0, 1, 2, ... without gaps in config.json"
        )
    return tuple(by_id[i] for i in range(len(by_id)))


def _check_head(folder: Path, architecture: Architecture, shapes: dict[str, list[int]], labels: int) -> None:
    outputs = shapes[_HEADS[architecture]][0]
    if outputs != labels:
        raise CheckpointError(
            f"{folder}: the head has {outputs} outputs but id2label names {labels} classes: correct id2label in "
            f"config.json, or fine-tune again with num_labels={labels}"
        )
