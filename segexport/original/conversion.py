"""Tensors under the original's names -> under transformers', with every one of them accounted for; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.errors import CheckpointError
from segexport.original.names import Entry, left_out, table
from segexport.original.structure import STAGES, infer, style_of
from segexport.segformer import Structure, Style
from segexport.weights.element_types import as_float32

_OTHER_PARTS = ("backbone.", "decode_head.", "auxiliary_head.", "head.")
_TRANSFORMERS = ("segformer.", "encoder.block.", "stages.0.blocks.")
_SHOWN = 3
_COUNTER = "a count of training steps; its norm is folded into the layer before it"


@dataclass(frozen=True)
class Converted:
    """A checkpoint in transformers' names: tensors, the structure they have, and what was left out and why.

    `tensors` hold mmsegmentation's stage norms too, under names of our own: `function.folded` makes them go.
    """

    style: Style
    structure: Structure
    tensors: dict[str, npt.NDArray[Any]] = field(repr=False)
    left_out: dict[str, str]


def convert(tensors: Mapping[str, npt.NDArray[Any]], file: Path | str) -> Converted:
    """Map every tensor of a checkpoint, whole models and bare encoders alike. Floating-point tensors become fp32.

    Raises:
        CheckpointError: no SegFormer of either repository, or its tensors are not exactly those of one: the message
            names what is missing and what is unknown.
    """
    # The ImageNet encoders have no `backbone.`; what the file calls a tensor is what messages call it.
    called = {name if name.startswith(_OTHER_PARTS) else f"backbone.{name}": name for name in tensors}
    style = style_of(list(called))
    if style is None:
        raise CheckpointError(_no_segformer(list(tensors), str(file)))
    structure = infer({name: list(tensors[own].shape) for name, own in called.items()}, style, str(file))
    entries = {entry.original: entry for entry in table(structure, style)}
    spare = {name: reason for name in called if name not in entries and (reason := left_out(name, style))}
    _account(called, entries, spare, str(file))
    found: dict[str, npt.NDArray[Any]] = {}
    for name, entry in entries.items():
        if name in called:
            found.update(_ours(entry, tensors[called[name]], str(file)))
    spare.update({name: _COUNTER for name in called if name.startswith("decode_head.convs.") and _counts(name)})
    return Converted(style, structure, found, {called[name]: reason for name, reason in spare.items()})


def to_original(
    tensors: Mapping[str, npt.NDArray[Any]], structure: Structure, style: Style, *, prefix: str = "backbone."
) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `convert`: tensors under the original's names.

    Args:
        tensors: under transformers' names on disk; for mmsegmentation's head with its stage norms.
        structure: what they are.
        style: whose names to write.
        prefix: what the encoder's names start with; "" as the ImageNet encoders' do.

    Raises:
        KeyError: a tensor is missing.
    """
    found = {}
    for entry in table(structure, style):
        if entry.optional and entry.ours[0] not in tensors:
            continue
        name = prefix + entry.original.removeprefix("backbone.") if "backbone." in entry.original else entry.original
        found[name] = _originals(entry, tensors)
    return found


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _account(called: Mapping[str, str], entries: Mapping[str, Entry], spare: Mapping[str, str], file: str) -> None:
    missing = [name for name, entry in entries.items() if name not in called and not entry.optional]
    unknown = [own for name, own in called.items() if name not in entries and name not in spare]
    if not missing and not unknown:
        return
    parts = [f"lacks {len(missing)} weights ({_some(missing)})"] if missing else []
    parts += [f"has {len(unknown)} that no SegFormer of this kind has ({_some(unknown)})"] if unknown else []
    raise CheckpointError(f"{file} {' and '.join(parts)}: pass the whole checkpoint of an unchanged SegFormer")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _no_segformer(names: list[str], file: str) -> str:
    if any(name.startswith(_TRANSFORMERS) for name in names):
        return f"{file} has transformers' names: write it as a folder with model.save_pretrained(DIR) and pass DIR"
    return (
        f"{file} is no SegFormer of NVlabs/SegFormer or mmsegmentation: it has {_some(names)}, and neither "
        "patch_embed1.proj.weight nor layers.0.0.projection.weight"
    )


def _ours(entry: Entry, tensor: npt.NDArray[Any], file: str) -> dict[str, npt.NDArray[Any]]:
    tensor = as_float32(tensor)
    expected = {"rows": None, "pointwise": 4, "stages": 4, "same": None}[entry.form]
    fits = expected is None or tensor.ndim == expected
    if fits and entry.form == "rows":
        fits = tensor.ndim > 0 and tensor.shape[0] % len(entry.ours) == 0
    if fits and entry.form == "stages":
        fits = tensor.shape[1] % STAGES == 0
    if not fits:
        shape = list(tensor.shape)
        raise CheckpointError(f"{file}: {entry.original} has shape {shape}, which is no SegFormer's: copy it again")
    if entry.form == "rows":
        parts = np.split(tensor, len(entry.ours))
        return {name: part.copy() for name, part in zip(entry.ours, parts, strict=True)}
    if entry.form == "pointwise":
        tensor = tensor[:, :, 0, 0]
    if entry.form == "stages":
        tensor = _reversed(tensor)
    return {entry.ours[0]: np.asarray(tensor, order="C")}


def _originals(entry: Entry, tensors: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    found = [tensors[name] for name in entry.ours]
    if entry.form == "rows":
        return np.concatenate(found)
    if entry.form == "pointwise":
        return found[0][:, :, None, None]
    if entry.form == "stages":
        return _reversed(found[0])
    return found[0]


def _reversed(kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[O, 4 D, 1, 1]: the authors and transformers concatenate the stages from the last, mmsegmentation from the first.

    The order of the blocks turned round is its own inverse.
    """
    return np.concatenate(np.split(kernel, STAGES, axis=1)[::-1], axis=1)
