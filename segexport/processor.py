"""Reading `preprocessor_config.json`, whichever of its old names and classes is used.

The file has had several spellings: `SegformerFeatureExtractor` before transformers 4.26, `SegformerImageProcessor`,
`...Fast` and `...Pil` since; `reduce_labels` and `reduce_zero_label` before `do_reduce_labels`; `size` as one number,
as `{"height", "width"}` or as `{"shortest_edge"}`; and no `do_rescale` at all in files older than that option,
which rescaled as a part of normalising.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segexport.errors import CheckpointError
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, Size

FILE = "preprocessor_config.json"
_NEWER_FILE = "processor_config.json"


def find_processor(folder: Path) -> Path | None:
    """The checkpoint's processor file, of whichever name; None if it has none."""
    return next((path for name in (FILE, _NEWER_FILE) if (path := folder / name).exists()), None)


def read_processor(folder: Path, default_size: Size) -> tuple[Preprocessing, bool, str | None]:
    """Preprocessing, `do_reduce_labels`, and a note when something had to be assumed.

    Raises:
        CheckpointError: the file is there and cannot be understood.
    """
    path = find_processor(folder)
    if path is None:
        note = f"no {FILE} in the checkpoint: assuming rescale by 1/255 and ImageNet mean and std"
        return Preprocessing(size=default_size), False, note
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config = config.get("image_processor", config)
        return _preprocessing(config, path.name, default_size), _reduce_labels(config), _doubts(config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be understood ({error!r}): correct it or remove it") from error


def _preprocessing(config: dict[str, Any], name: str, default_size: Size) -> Preprocessing:
    return Preprocessing(
        do_rescale=bool(config.get("do_rescale", True)),
        rescale_factor=float(config.get("rescale_factor") or 1 / 255),
        do_normalize=bool(config.get("do_normalize", True)),
        mean=_per_channel(config.get("image_mean"), IMAGENET_MEAN),
        std=_per_channel(config.get("image_std"), IMAGENET_STD),
        do_resize=bool(config.get("do_resize", True)),
        size=_size(config.get("size"), default_size),
        resample=int(config.get("resample", 2)),
        found_in=name,
    )


def _per_channel(value: Any, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if value is None:
        return default
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = (float(v) for v in value)
    return red, green, blue


def _size(value: Any, default: Size) -> Size:
    if value is None:
        return default
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict):
        if "shortest_edge" in value:
            return int(value["shortest_edge"]), int(value["shortest_edge"])
        return int(value["height"]), int(value["width"])
    height, width = value
    return int(height), int(width)


def _reduce_labels(config: dict[str, Any]) -> bool:
    for key in ("do_reduce_labels", "reduce_labels", "reduce_zero_label"):
        if config.get(key) is not None:
            return bool(config[key])
    return False


def _doubts(config: dict[str, Any]) -> str | None:
    if config.get("do_normalize", True) and config.get("do_rescale") is False:
        return (
            "the processor normalises pixels it has not divided by 255 (do_rescale is false, do_normalize true): "
            "built as it says, but check that the training did the same"
        )
    return None
