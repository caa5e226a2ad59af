"""From what a user names (folder, `.pth` file, hub id or alias) to a `Checkpoint`: facts about it, and the weights.

Everything except `Checkpoint.model` works without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segexport import hub, original, segformer, weights
from segexport.aliases import KNOWN, alias_config, alias_of, unknown
from segexport.data import read_json
from segexport.errors import CheckpointError
from segexport.files import sha256_of
from segexport.naming import name_of
from segexport.palette import palette_for
from segexport.processor import read_processor
from segexport.segformer import HEADS, Head, Structure, names, random_weights
from segexport.segformer.accounting import account, left_out, some
from segexport.segformer.config import read_config
from segexport.spec import Architecture, Grid, Labels, Preprocessing, Size, Source

if TYPE_CHECKING:
    import torch

RANDOM_SEED = 0
_NO_PROCESSOR = (
    "a .pth file has no processor: assuming rescale by 1/255, ImageNet mean and std (which the original's "
    "configurations have) and 512x512 pixels"
)
_RANDOM = "random weights: for latency and parity only, its masks mean nothing"


@dataclass(frozen=True)
class Checkpoint:
    """A SegFormer: where its weights are, what they mean, and what had to be assumed (`notes`)."""

    source: Source
    structure: Structure
    config: dict[str, Any] = field(repr=False)
    preprocessing: Preprocessing
    labels: Labels
    folder: Path | None
    notes: tuple[str, ...] = ()
    file: Path | None = None
    """The `.pth` file, of the original repository or mmsegmentation, that stands for a folder."""
    name: str = ""
    """What bundles of it are called, see `segexport.naming`; of one that `load` has read."""

    @property
    def architecture(self) -> Architecture:
        """What its head is for."""
        assert self.structure.head is not None
        return HEADS[self.structure.head]

    @property
    def default_size(self) -> Size:
        """The processor's own size."""
        return self.preprocessing.size

    @property
    def grid(self) -> Grid:
        """Where its logits are in its input."""
        return self.structure.grid

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Every tensor of the network, float32, by the names of `segformer.parameters`. Read anew on each call.

        Raises:
            CheckpointError: the weights cannot be read, or hold NaN or infinity.
        """
        if self.source.random_weights:
            return random_weights.draw(self.structure, RANDOM_SEED)
        if self.file is not None:
            found = original.folded(original.convert(original.read(self.file).tensors, self.file).tensors)
        else:
            assert self.folder is not None
            found = weights.read_tensors(weights.find(self.folder))
        tensors = {name: found[name] for name in segformer.parameters(self.structure)}
        for name, tensor in tensors.items():
            if tensor.dtype != np.float32:
                raise CheckpointError(f"{self.source.id}: {name} holds {tensor.dtype}, no weights: copy it again")
            if not np.isfinite(tensor).all():
                raise CheckpointError(
                    f"{self.source.id}: {name} holds NaN or infinity: take an earlier checkpoint of the training"
                )
        return tensors

    def model(self, attention: str | None = None) -> torch.nn.Module:
        """The PyTorch model in eval mode, fp32, with every weight accounted for.

        Args:
            attention: transformers' `attn_implementation`; None takes its default, as a user would.

        Raises:
            CheckpointError: a weight is missing, truncated or of another shape.
            EngineUnavailable: torch or transformers is not installed.
        """
        from segexport.weights import pytorch

        if self.source.random_weights:
            return pytorch.complete_model(self.architecture, self.config, self.tensors(), self.source.id, attention)
        if self.file is not None:
            return original.load_model(self.architecture, self.file, self.config, attention)
        assert self.folder is not None
        return pytorch.load_model(self.architecture, self.folder, self.source.id, attention)


@dataclass(frozen=True)
class Found:
    """Where a checkpoint is: in a folder, or in a `.pth` file; and what identifies it."""

    identity: str
    folder: Path | None = None
    file: Path | None = None
    commit: str | None = None


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    random_init: bool = False,
    ignore_unused: Sequence[str] = (),
) -> Checkpoint:
    """Find a SegFormer checkpoint.

    Args:
        model: a folder in Hugging Face layout, a `.pth` file of NVlabs/SegFormer or mmsegmentation, a hub id
            (`owner/name`), or an alias (`b0` ... `b5` for ADE20K, `b0-cityscapes` ... for Cityscapes, `mit-b0` ... for
            the ImageNet classifiers).
        revision: branch, tag or commit on the hub.
        random_init: the same architecture with random weights (seed 0), for latency and parity only. An alias
            then needs no network.
        ignore_unused: names of tensors that no SegFormer has and that may be left out; `*` stands for anything. They
            are recorded in `source.ignored`.

    Raises:
        CheckpointError: not found, hub unreachable, not a SegFormer, truncated, its head does not fit its labels, or it
            does not hold exactly the tensors that its config.json describes.
    """
    name = str(model)
    if ignore_unused and (random_init or name.endswith(original.SUFFIXES)):
        raise CheckpointError(
            f"{name}: --ignore-unused is for the tensors of a folder or hub id: leave it out with "
            f"{'--random-init' if random_init else 'a .pth file'}"
        )
    return dataclasses.replace(_load(name, revision, random_init, ignore_unused), name=name_of(model))


def _load(name: str, revision: str | None, random_init: bool, ignore_unused: Sequence[str]) -> Checkpoint:
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
    return _from_folder(found.folder, found.identity, found.commit, ignore_unused)


def load_source(source: Source, name: str | Path | None = None) -> Checkpoint:
    """The checkpoint that a bundle was built from.

    Args:
        source: the bundle's.
        name: where the checkpoint is now; the source's own id, at its revision, if None.

    Raises:
        CheckpointError: as for `load`, or its weights are not the bundle's.
    """
    asked = str(name or source.id)
    loaded = load(
        asked,
        revision=source.revision if asked == source.id else None,
        random_init=source.random_weights,
        ignore_unused=source.ignored,
    )
    if loaded.source.weights_sha256 == source.weights_sha256:
        return loaded
    if source.random_weights:
        raise CheckpointError(
            f"the random weights of {asked} are not those that an older segexport drew: build it again"
        )
    raise CheckpointError(
        f"{asked} has other weights than the bundle was built from: pass the checkpoint that it was built from"
    )


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
    if path.is_file():
        if not name.endswith(original.SUFFIXES):
            raise CheckpointError(
                f"{name} is not a folder: pass a checkpoint's folder (config.json, model.safetensors), a .pth file of "
                "the original repository, a hub id or an alias"
            )
        return Found(str(path.resolve()), file=path)
    if not _is_hub_id(name) or name.endswith(original.SUFFIXES):
        raise CheckpointError(
            f"{unknown(name)} Pass a checkpoint's folder, a .pth file, a hub id (owner/name) or an alias ({KNOWN}); "
            "an alias with --random-init needs no network"
        )
    folder, commit = hub.fetch(name, revision, f"{unknown(name)} As a hub id")
    return Found(name, folder=folder, commit=commit)


def _is_hub_id(name: str) -> bool:
    """Whether it reads `owner/name`, and `owner` is no folder here."""
    owner, _, rest = name.partition("/")
    return bool(owner.strip(".~") and rest) and not set("/\\") & set(rest) and not Path(owner).is_dir()


def _from_folder(folder: Path, identity: str, commit: str | None, ignore_unused: Sequence[str]) -> Checkpoint:
    config = read_config(folder)
    files = weights.find(folder)
    shapes = {names.disk_name(name): shape for name, shape in weights.shapes(files).items()}
    head = _head(folder, config, shapes)
    labels = label_names(config, str(folder))
    _check_labels(folder, config, head, shapes, len(labels))
    structure = segformer.Structure.of_config(config, head, len(labels))
    _require_rgb(structure, str(folder))
    ignored, note = account(structure, shapes, ignore_unused, str(folder))
    preprocessing, reduce, assumed = read_processor(folder, (512, 512))
    return Checkpoint(
        source=Source(identity, commit, weights.sha256(files), ignored=ignored),
        structure=structure,
        config=config,
        preprocessing=preprocessing,
        labels=Labels(labels, palette_for(labels), reduce),
        folder=folder,
        notes=tuple(filter(None, (assumed, note))),
    )


def _from_file(file: Path, identity: str, random_init: bool) -> Checkpoint:
    contents = original.read(file)
    converted = original.convert(contents.tensors, file)
    structure = converted.structure
    if structure.head is None:
        raise CheckpointError(f"{file} is an encoder without a head: fine-tune it first (segexport finetune --model)")
    _require_rgb(structure, str(file))
    labels, note = original.labels_of(contents.meta, structure)
    config = structure.config(labels.names)
    preprocessing = Preprocessing()
    if random_init:
        return _random(identity, config, preprocessing, labels.reduce)
    return Checkpoint(
        source=Source(identity, None, sha256_of(file)),
        structure=structure,
        config=config,
        preprocessing=preprocessing,
        labels=labels,
        folder=None,
        notes=tuple(filter(None, (_NO_PROCESSOR, note, left_out(converted.left_out)))),
        file=file,
    )


def _random(
    identity: str,
    config: dict[str, Any],
    preprocessing: Preprocessing,
    reduce: bool,
    folder: Path | None = None,
) -> Checkpoint:
    architecture = names.CLASSES.get((config.get("architectures") or [""])[0], "semantic-segmentation")
    labels = label_names(config, identity)
    head: Head = "classification" if architecture == "image-classification" else "segmentation"
    structure = segformer.Structure.of_config(config, head, len(labels))
    _require_rgb(structure, identity)
    return Checkpoint(
        source=Source(identity, None, random_weights.sha256(structure, RANDOM_SEED), random_weights=True),
        structure=structure,
        config=config,
        preprocessing=preprocessing,
        labels=Labels(labels, palette_for(labels), reduce),
        folder=folder,
        notes=(_RANDOM,),
    )


def _head(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> Head:
    for head, layer in names.LAST_LAYERS.items():
        if f"{layer}.weight" in shapes:
            return head
    architecture = (config.get("architectures") or [None])[0]
    others = [name for name in shapes if names.stage_in(name) is None]
    if others:
        raise CheckpointError(
            f"{folder} has no head of a SegFormer (its architecture is {architecture}), but {some(others)}: pass a "
            "checkpoint of SegformerForSemanticSegmentation or SegformerForImageClassification"
        )
    raise CheckpointError(
        f"{folder} has no head (its architecture is {architecture}): fine-tune it first, or pass a checkpoint of "
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


def _check_labels(
    folder: Path, config: Mapping[str, Any], head: Head, shapes: Mapping[str, Sequence[int]], labels: int
) -> None:
    outputs = shapes[f"{names.LAST_LAYERS[head]}.weight"][:1]
    if list(outputs) == [labels]:
        return
    count = outputs[0] if outputs else 0
    if not config.get("id2label"):
        raise CheckpointError(
            f"{folder}: the head has {count} outputs and config.json has no id2label: name the {count} classes there, "
            'as {"0": "first class", ...}'
        )
    raise CheckpointError(
        f"{folder}: the head has {count} outputs but id2label names {labels} classes: correct id2label in "
        f"config.json, or fine-tune again with num_labels={labels}"
    )


def _require_rgb(structure: Structure, where: str) -> None:
    if structure.channels != 3:
        raise CheckpointError(f"{where} takes {structure.channels} channels: segexport serves RGB images only")
