"""One validated reading of a checkpoint's `config.json`: types, lengths and bounds, before anything is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from segexport.errors import CheckpointError
from segexport.segformer.structure import DEFAULTS, Activation, Structure

MAX_LABELS = 65536
MAX_NUMBERS = 2_000_000_000
"""Weights of the largest network that is looked at: B5 has 85 million."""

_WIDEST, _DEEPEST, _STAGES = 16384, 512, 8
_SHOWN = 60

_LISTS: dict[str, tuple[int, int]] = {
    "depths": (1, _DEEPEST),
    "hidden_sizes": (1, _WIDEST),
    "num_attention_heads": (1, _WIDEST),
    "sr_ratios": (1, 64),
    "patch_sizes": (1, 63),
    "strides": (1, 64),
}
"""Lists of whole numbers with an entry for each stage, and the least and largest of these."""
_NUMBERS: dict[str, tuple[int, int]] = {
    "num_channels": (1, 64),
    "num_encoder_blocks": (1, _STAGES),
    "decoder_hidden_size": (1, _WIDEST),
}


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's `config.json`, every key of which that tells the network's structure has been checked.

    Raises:
        CheckpointError: missing, no JSON, not a SegFormer, or keys that do not describe one: a line for each.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no config.json: pass a folder written by save_pretrained") from None
    except RecursionError:
        raise CheckpointError(f"{path} nests too deeply to be a configuration: write the checkpoint again") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): write the checkpoint again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "segformer":
        raise CheckpointError(
            f"{folder} is not a SegFormer (model_type is {_short(kind)}): segexport serves SegFormer only"
        )
    check(config, str(path))
    return dict(config)


def check(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration that describes no SegFormer.

    Args:
        config: as `json.loads` gives it; a key that is not there is transformers' default.
        where: its file, for the message.

    Raises:
        CheckpointError: keys of a wrong type, length or range: a line for each, with what would be right.
    """
    problems = list(_problems({**DEFAULTS, **config}))
    if not problems and (size := _numbers(Structure.of_config(config, "segmentation", 1))) > MAX_NUMBERS:
        problems = [f"depths and widths make a network of {size:.1e} weights: correct them (B5 has 8.5e7)"]
    if problems:
        raise CheckpointError("\n".join(f"{where}: {problem}" for problem in problems))


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    for key, (least, most) in _NUMBERS.items():
        if not _is_whole(config[key], least, most):
            yield f"{key} is {_short(config[key])}: write a whole number of {least} to {most}"
    count = config["num_encoder_blocks"] if _is_whole(config["num_encoder_blocks"], 1, _STAGES) else 4
    for key, (least, most) in _LISTS.items():
        yield from _list(key, config[key], count, f"whole numbers of {least} to {most}", _whole(least, most))
    yield from _list("mlp_ratios", config["mlp_ratios"], count, "numbers above 0 up to 64", _is_ratio)
    if config["hidden_act"] not in get_args(Activation):
        yield f"hidden_act is {_short(config['hidden_act'])}: segexport writes {' and '.join(get_args(Activation))}"
    widths, heads = config["hidden_sizes"], config["num_attention_heads"]
    if _all_whole(widths, count) and _all_whole(heads, count):
        for i, (width, head) in enumerate(zip(widths, heads, strict=True)):
            if width % head:
                yield f"num_attention_heads[{i}] is {head}, which does not divide hidden_sizes[{i}], {width}"
    yield from _of_labels(config)


def _of_labels(config: Mapping[str, Any]) -> Iterator[str]:
    architectures = config.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)
    ):
        yield f"architectures is {_short(architectures)}: write a list of one class's name"
    names = config.get("id2label")
    if names is not None and not isinstance(names, dict):
        yield f'id2label cannot be understood ({_short(names)}): write it as {{"0": "first class", ...}}'
    elif names is not None and len(names) > MAX_LABELS:
        yield f"id2label names {len(names)} classes: at most {MAX_LABELS} are read"
    count = config.get("num_labels")
    if count is not None and not _is_whole(count, 1, MAX_LABELS):
        yield f"num_labels is {_short(count)}: write a whole number of 1 to {MAX_LABELS}"
    for key in ("do_reduce_labels", "reshape_last_stage"):
        if not isinstance(config.get(key, False), bool):
            yield f"{key} is {_short(config[key])}: write true or false"


def _list(key: str, value: Any, count: int, what: str, fits: Callable[[Any], bool]) -> Iterator[str]:
    right = f"write {count} {what}, one for each stage (num_encoder_blocks)"
    if not isinstance(value, list | tuple):
        yield f"{key} is {_short(value)}: {right}"
    elif len(value) != count:
        yield f"{key} has {len(value)} entries: {right}"
    elif not all(map(fits, value)):
        yield f"{key} is {_short(list(value))}: {right}"


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: _is_whole(value, least, most)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_ratio(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 < value <= 64


def _all_whole(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count and all(_is_whole(one, 1, _WIDEST) for one in value)


def _numbers(structure: Structure) -> int:
    """About how many weights there are; no list of them is made."""
    total = 0
    for i, width in enumerate(structure.widths):
        hidden = structure.hidden(i)
        total += structure.depths[i] * (width * width * (4 + structure.reductions[i] ** 2) + 2 * width * hidden)
        total += width * structure.patches[i] ** 2 * (structure.widths[i - 1] if i else structure.channels)
    return total + (structure.decoder or 0) ** 2 * structure.stages


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "deeply nested"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
