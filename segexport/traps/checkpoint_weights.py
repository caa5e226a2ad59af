"""Traps in a checkpoint's weights: missing, not finite, never trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport import segformer
from segexport.data import read_json
from segexport.segformer import names
from segexport.segformer.accounting import harmless, some
from segexport.traps.trap import Trap

_TRAIN = "train it: segexport finetune --model"


def tensor_traps(where: str, config: Mapping[str, Any] | None, tensors: Mapping[str, npt.NDArray[Any]]) -> list[Trap]:
    """Judge tensors under the names that transformers' checkpoints have on disk; `config` None if unreadable."""
    found = []
    if config is not None:
        found += _of_names(where, config, tensors)
        found += _of_sizes(where, config)
    found += _of_head(where, tensors)
    found += _of_values(where, tensors)
    return found


def _of_names(where: str, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> list[Trap]:
    head = next((head for head, layer in names.LAST_LAYERS.items() if f"{layer}.weight" in tensors), None)
    if head is None and _has_decode_head(tensors):
        head = "segmentation"
    classes = None if head is None else len(tensors.get(f"{names.LAST_LAYERS[head]}.weight", ()))
    structure = segformer.Structure.of_config(config, head, classes)
    needed = segformer.parameters(structure)
    missing = sorted(needed.keys() - tensors.keys())
    others = sorted(
        name
        for name in tensors.keys() - needed.keys()
        if not name.endswith(names.COUNTER) and not harmless(name, structure)
    )
    traps = []
    if missing:
        traps.append(
            Trap(
                "weights-missing",
                "error",
                where,
                f"{len(missing)} weights of {len(needed)} are missing ({some(missing)})",
                "transformers fills them with random values and says so in a log line only",
                "copy or save the whole checkpoint again",
            )
        )
    if others:
        traps.append(
            Trap(
                "weights-unexpected",
                "error",
                where,
                f"{len(others)} tensors are none of this SegFormer's ({some(others)})",
                "nothing loads them: what was trained had parts that this configuration does not describe",
                "check depths in config.json against the training; if the network does not need them, build with "
                "--ignore-unused",
            )
        )
    return traps


def _of_sizes(where: str, config: Mapping[str, Any]) -> list[Trap]:
    keys = ("depths", "hidden_sizes", "decoder_hidden_size")
    own = {key: config.get(key) for key in keys if config.get(key) is not None}
    sizes = read_json("aliases.json")["architectures"]
    if any(all(size[key] == value for key, value in own.items()) for size in sizes.values()):
        return []
    said = ", ".join(f"{key} {value}" for key, value in own.items())
    why = "published weights fit no part of it, and published figures say nothing about it"
    fix = "nothing, if it is meant: it builds and trains as the others do"
    return [Trap("size-not-published", "warning", where, f"{said}: none of B0 to B5", why, fix)]


def _of_head(where: str, tensors: Mapping[str, npt.NDArray[Any]]) -> list[Trap]:
    if not _has_decode_head(tensors):
        classes = tensors.get(f"{names.CLASSIFIER}.weight")
        what = "an encoder alone" if classes is None else f"an image classifier of {len(classes)} classes"
        return [
            Trap(
                "no-head",
                "warning",
                where,
                f"{what}: no decode head",
                "it segments nothing yet; transformers would make up a head of random weights",
                f"{_TRAIN} {where}",
            )
        ]
    mean, variance = (tensors.get(f"{names.BATCH_NORM}.running_{kind}") for kind in ("mean", "var"))
    if mean is None or variance is None or bool((mean != 0).any()) or bool((variance != 1).any()):
        return []
    return [
        Trap(
            "head-untrained",
            "error",
            where,
            "the decode head's BatchNorm has a mean of 0 and a variance of 1 in every channel",
            "not one training step has gone through it: the head is newly initialised, and its masks mean nothing",
            f"{_TRAIN} {where}",
        )
    ]


def _of_values(where: str, tensors: Mapping[str, npt.NDArray[Any]]) -> list[Trap]:
    bad = [name for name, tensor in tensors.items() if not bool(np.isfinite(tensor).all())]
    if bad:
        why = "one such number makes every output not a number"
        fix = "take an earlier checkpoint of the run, and train on with a lower rate, in bf16 or fp32"
        detail = f"{len(bad)} tensors have NaN or infinity ({some(bad)})"
        return [Trap("weights-not-finite", "error", where, detail, why, fix)]
    scales = [tensor for name, tensor in tensors.items() if "layer_norm" in name and name.endswith(".weight")]
    if scales and all(bool((scale == 1).all()) for scale in scales):
        detail = f"all {len(scales)} LayerNorms scale by exactly 1"
        why = "any training moves them: the encoder has random weights, and its masks mean nothing"
        return [Trap("encoder-untrained", "error", where, detail, why, "start from nvidia/mit-b0 or train longer")]
    return []


def _has_decode_head(tensors: Mapping[str, npt.NDArray[Any]]) -> bool:
    return any(name.startswith(f"{names.DECODE_HEAD}.") for name in tensors)
