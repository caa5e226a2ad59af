"""What options may say, and how their text is read."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING

from segexport.errors import ContractError

if TYPE_CHECKING:
    from segexport.spec import MaskSize


class Precision(str, enum.Enum):
    """What `--precision` takes."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"
    auto = "auto"


class Engine(str, enum.Enum):
    """What `--engine` takes."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"
    onnxruntime_cuda = "onnxruntime-cuda"
    onnxruntime_tensorrt = "onnxruntime-tensorrt"
    onnxruntime_tensorrt_rtx = "onnxruntime-tensorrt-rtx"
    openvino = "openvino"
    onnxruntime = "onnxruntime"


class ChannelOrder(str, enum.Enum):
    """What `--channel-order` takes."""

    rgb = "rgb"
    bgr = "bgr"


class ResizeMode(str, enum.Enum):
    """What `--resize-mode` takes."""

    stretch = "stretch"
    letterbox = "letterbox"
    shortest_edge = "shortest-edge"


class Output(str, enum.Enum):
    """What `--output` takes."""

    mask = "mask"
    scores = "scores"
    logits = "logits"
    topk = "topk"


class ClassMap(str, enum.Enum):
    """What `--class-map` takes."""

    device = "device"
    graph = "graph"


class Accumulate(str, enum.Enum):
    """What `--attention-accumulate` takes."""

    fp16 = "fp16"
    fp32 = "fp32"


class HardwareCompatibility(str, enum.Enum):
    """What `--hardware-compatibility` takes."""

    same_compute_capability = "same-compute-capability"
    ampere_plus = "ampere-plus"


class Autocast(str, enum.Enum):
    """What `--autocast` takes."""

    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    off = "off"


class ClassWeights(str, enum.Enum):
    """What `--class-weights` takes."""

    none = "none"
    sqrt = "sqrt"


def required(path: Path | None, option: str) -> Path:
    """An option that `--precision auto` cannot do without."""
    if path is None:
        raise ContractError(f"--precision auto measures what pays: pass {option} too")
    return path


def size_of(text: str | None) -> tuple[int, int] | None:
    """(height, width), or None where none is given."""
    from segexport.spec import parse_size

    return None if text is None else parse_size(text)


def parse_mask_size(text: str) -> MaskSize | tuple[int, int]:
    """A named size, or (height, width)."""
    from segexport.spec import parse_size

    named: dict[str, MaskSize] = {"input": "input", "network": "network"}
    return named.get(text) or parse_size(text)


def parse_batch(text: str) -> int:
    """A number, or the one that stands for any."""
    from segexport.spec import DYNAMIC

    if text == "dynamic":
        return DYNAMIC
    if not text.isdecimal():
        raise ContractError(f"'{text}' is no batch: pass --batch with a number, or 'dynamic'")
    return int(text)
