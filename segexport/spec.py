"""The plain facts that travel with a graph: preprocessing, labels, contract. No behaviour beyond checks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from segexport.errors import ContractError

T = TypeVar("T")

Size = tuple[int, int]
"""Always (height, width)."""

ChannelOrder = Literal["rgb", "bgr"]
Output = Literal["mask", "scores", "logits", "topk"]
MaskSize = Literal["input", "network"]
ResizeMode = Literal["stretch", "letterbox", "shortest-edge"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
Architecture = Literal["semantic-segmentation", "image-classification"]

IMAGE = "image"
"""The input of every graph."""
LOGITS = "logits"
"""The output of a graph whose class map is made behind it."""

IGNORE_INDEX = 255
MAX_CLASSES = 255
MIN_SIDE = 32
MAX_SIDE = 16384

DYNAMIC = -1
"""Batch of a contract whose first dimension is left open."""

FILTERS = (0, 1, 2, 3, 4, 5)
"""Pillow's numbers of the filters that a graph can resize with; `PIL.Image.Resampling` names them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What turns raw uint8 pixels into the network's input, as the checkpoint's processor says.

    `x = pixel * rescale_factor` (if do_rescale), then `(x - mean) / std` (if do_normalize), per RGB channel.
    `size` is the processor's own (height, width); `resample` is Pillow's filter number (2 bilinear, 3 bicubic).
    """

    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    do_resize: bool = True
    size: Size = (512, 512)
    resample: int = 2
    found_in: str = "defaults (ImageNet mean and std)"


@dataclass(frozen=True)
class Labels:
    """Class names by id, their colours, and whether data sets count from 1 (`reduce`: 0 -> 255, k -> k-1)."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    reduce: bool = False

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Source:
    """Where the weights came from. `weights_sha256` is what ties bundles and references together.

    `ignored` names tensors of the checkpoint that are in no SegFormer, and were left out because that was asked for.
    """

    id: str
    revision: str | None
    weights_sha256: str
    random_weights: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Where a SegFormer's logits are in its input: one for each patch that its first patch embedding takes.

    That is a convolution with a kernel of `patch` pixels, every `stride` pixels, padded by half the kernel; the decode
    head brings all stages to its size. The published networks have 7 and 4 (Xie et al. 2021, section 3.1).
    """

    patch: int = 7
    stride: int = 4

    def __post_init__(self) -> None:
        if min(self.patch, self.stride) < 1:
            raise ContractError(
                f"a first patch embedding of patch {self.patch} and stride {self.stride} cannot be served: "
                "both must be 1 or more in the checkpoint's config"
            )

    def of(self, size: Size) -> Size:
        """Rows and columns of the logits for an input of `size`; the published networks': a quarter, rounded up."""
        height, width = ((side + 2 * (self.patch // 2) - self.patch) // self.stride + 1 for side in size)
        return height, width


@dataclass(frozen=True)
class Contract:
    """What goes in and what comes out of a graph.

    In: `image` uint8 [batch, *image_size, 3]. With a `source_size` the graph itself brings it to the network's `size`
    as Pillow would: `stretch` to all of it, `letterbox` to as much of it as keeps the aspect (the rest is zero after
    normalisation), or `shortest-edge`, whose `size` was chosen to keep the aspect. Out, by `output`:

    - mask: `mask` uint8 [batch, *mask_size]
    - scores: `mask` as above and `confidence` float32 [batch, *mask_size], the softmax of the winning class
    - logits: `logits` float32 [batch, classes, *mask_size] (segmentation) or [batch, classes] (classification)
    - topk: `classes` int32 [batch, k] and `scores` float32 [batch, k], best first (classification)

    `grid` is the network's, where its logits are in its input.
    """

    size: Size
    batch: int = 1
    channel_order: ChannelOrder = "rgb"
    output: Output = "mask"
    mask_size: Size | None = None
    topk: int = 5
    source_size: Size | None = None
    resize_mode: ResizeMode = "stretch"
    grid: Grid = Grid()

    def __post_init__(self) -> None:
        for option, size in (("--size", self.size), ("--source-size", self.source_size)):
            for what, side in zip(("height", "width"), size or (), strict=False):
                if not MIN_SIDE <= side <= MAX_SIDE:
                    limits = f"{MIN_SIDE}x{MIN_SIDE} and {MAX_SIDE}x{MAX_SIDE}"
                    raise ContractError(f"{what} {side} cannot be served: give a {option} between {limits}")
        modes = get_args(ResizeMode)
        if self.resize_mode not in modes:
            raise ContractError(f"resize mode {self.resize_mode} is unknown: pass --resize-mode {' or '.join(modes)}")
        if self.resize_mode != "stretch" and self.source_size is None:
            raise ContractError(
                f"--resize-mode {self.resize_mode} depends on the image's size: pass --source-size HEIGHTxWIDTH too"
            )
        if self.mask_size is not None and min(self.mask_size) < 1:
            raise ContractError(f"mask size {format_size(self.mask_size)} is empty: give --mask-size HxW")
        if self.batch < 1 and self.batch != DYNAMIC:
            raise ContractError(f"batch {self.batch} cannot be served: give a --batch of 1 or more, or 'dynamic'")

    @property
    def image_size(self) -> Size:
        """Height and width of the images the graph takes."""
        return self.source_size or self.size

    @property
    def content_size(self) -> Size:
        """Height and width of the image inside the network's input: all of it, unless it is letterboxed.

        A letterboxed side that does not fill the network's is a multiple of the grid's stride, so that it covers whole
        logits.
        """
        if self.resize_mode != "letterbox":
            return self.size
        height, width = self.image_size
        scale = min(self.size[0] / height, self.size[1] / width)
        stride = self.grid.stride
        return _content_side(height * scale, self.size[0], stride), _content_side(width * scale, self.size[1], stride)

    @property
    def content_offset(self) -> Size:
        """Rows above and columns left of the image inside the network's input.

        Half the rest, rounded down to the grid's stride, so that the image begins where a logit is.
        """
        (height, width), (inner_height, inner_width), stride = self.size, self.content_size, self.grid.stride
        return (height - inner_height) // 2 // stride * stride, (width - inner_width) // 2 // stride * stride

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return {
            "mask": ("mask",),
            "scores": ("mask", "confidence"),
            "logits": ("logits",),
            "topk": ("classes", "scores"),
        }[self.output]


Claim = Literal["bit-exact", "algebraic", "approximate"]
"""How a rewritten graph's outputs relate to the original's: equal bits, equal over the reals (rounding measured and
bounded by a test), or neither (never in the default pipeline)."""


@dataclass(frozen=True)
class Declined:
    """A place in the graph that looked like a pass's pattern and was left alone."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """What one pass did: names of the nodes it replaced, and the places it declined."""

    name: str
    claim: Claim
    rewritten: tuple[str, ...]
    declined: tuple[Declined, ...]


@dataclass(frozen=True)
class Lowering:
    """How a graph came to its precision: on which images its ranges were found, what stayed in FP32, what is in INT8.

    `fp32` names modules whose activations come near FP16's largest number; `int8` the layers of the portable graph.
    """

    images: str
    images_sha256: str
    fp32: tuple[str, ...] = ()
    int8: tuple[str, ...] = ()


def _content_side(ideal: float, whole: int, stride: int) -> int:
    """A letterboxed side of `ideal` pixels: the whole of the network's, or else the nearest multiple of `stride`."""
    if round(ideal) >= whole:
        return whole
    return min(max(stride, round(ideal / stride) * stride), whole)


def shortest_edge(source: Size, short: int) -> Size:
    """`source` scaled to a shorter side of `short`, the other one rounded down as transformers does.

    Source: transformers 4.57 and 5, `image_transforms.get_resize_output_image_size(default_to_square=False)`.
    """
    height, width = source
    if width <= height:
        return int(short * height / width), short
    return short, int(short * width / height)


def format_size(size: Size) -> str:
    """`HxW`, the way sizes are written everywhere."""
    return f"{size[0]}x{size[1]}"


def parse_size(text: str) -> Size:
    """Read `HxW` (or one number for a square).

    Raises:
        ContractError: not two positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) == 1:
        parts *= 2
    if len(parts) != 2 or not all(p.strip().isdecimal() for p in parts):
        raise ContractError(f"'{text}' is not a size: write HEIGHTxWIDTH, such as 512x1024")
    return int(parts[0]), int(parts[1])


def to_json(value: Any) -> Any:
    """A spec dataclass as plain JSON values; tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    return value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def from_json(kind: type[T], value: dict[str, Any]) -> T:
    """Inverse of `to_json` for a spec dataclass whose fields are plain values.

    Raises:
        TypeError: a field is missing or unknown.
    """
    return kind(**{k: _tuples(v) for k, v in value.items()})


def contract_from_json(value: dict[str, Any]) -> Contract:
    """Inverse of `to_json` for a Contract; one without a grid is older than grids, and has the published networks'.

    Raises:
        ContractError: a field has a value that cannot be served.
        TypeError: a field is missing or unknown.
    """
    grid = from_json(Grid, value.get("grid", {}))
    return from_json(Contract, {**value, "grid": grid})


def pass_result_from_json(value: dict[str, Any]) -> PassResult:
    """Inverse of `to_json` for a PassResult.

    Raises:
        KeyError, TypeError: a field is missing or unknown.
    """
    declined = tuple(Declined(**d) for d in value["declined"])
    return PassResult(value["name"], value["claim"], tuple(value["rewritten"]), declined)


def facts_from_json(value: dict[str, Any]) -> dict[str, Any]:
    """What a graph's metadata and a bundle's manifest both hold, as spec types under the same names.

    Raises:
        ContractError: a field of the contract has a value that cannot be served.
        KeyError, TypeError, ValueError: a fact or a field is missing or unknown.
    """
    return {
        "source": from_json(Source, value["source"]),
        "contract": contract_from_json(value["contract"]),
        "preprocessing": from_json(Preprocessing, value["preprocessing"]),
        "labels": from_json(Labels, value["labels"]),
        "rewrites": tuple(pass_result_from_json(r) for r in value["rewrites"]),
    }
