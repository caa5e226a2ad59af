"""What calibration found, as a readable table: the range of every layer's input, and the peak of every module."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from segexport.errors import PrecisionError
from segexport.files import write_file
from segexport.graph.graph import Graph
from segexport.spec import Size, format_size, to_json

SCHEMA = 1

Method = Literal["min-max", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

PEAKS_ONLY = "peaks-only"
"""What a table without layers says of its choice: no method was compared."""


@dataclass(frozen=True)
class Range:
    """What a layer read: `low` and `high` were seen; each method's threshold is the magnitude it clips at.

    `sqnr_db` is what symmetric INT8 of the input with that threshold leaves of the layer's output on the images seen,
    as signal-to-quantisation-noise ratio in dB.
    """

    low: float
    high: float
    thresholds: dict[Method, float]
    sqnr_db: dict[Method, float]
    method: Method

    @property
    def magnitude(self) -> float:
        """The magnitude that symmetric INT8 maps to 127, always positive."""
        return _positive(self.thresholds[self.method])

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value that asymmetric INT8 keeps apart, always around zero."""
        limit = self.magnitude
        low, high = max(min(self.low, 0.0), -limit), min(max(self.high, 0.0), limit)
        return (low, high) if high > low else (low, limit)


@dataclass(frozen=True)
class ImageSet:
    """The images a table comes from: how many of how many, drawn with which seed, and a hash of their pixels."""

    path: str
    count: int
    of: int
    seed: int
    sha256: str


@dataclass(frozen=True)
class Ranges:
    """A calibration table, for one checkpoint's weights at one size.

    `layers` are keyed by layer (see `segexport.precision.layers`), `peaks` (the largest magnitude of any activation) by
    the module that made it. `network_sqnr_db` is the ratio at the network's logits with each method for all layers,
    `mixed` that with the best one for each layer; `chosen` is the best of these.

    FP16 needs the peaks alone: a table made for it has neither layers nor ratios, and `chosen` is `PEAKS_ONLY`.
    """

    weights_sha256: str
    size: Size
    image_size: Size
    images: ImageSet
    layers: dict[str, Range]
    peaks: dict[str, float]
    network_sqnr_db: dict[str, float]
    chosen: str

    def save(self, path: Path) -> None:
        """Write the table as JSON, a line for each layer and module."""
        write_file(path, self.as_text().encode())

    def as_text(self) -> str:
        """The table as JSON text."""
        content = {"schema": SCHEMA, **to_json(dataclasses.replace(self, layers={}, peaks={}))}
        for name in ("layers", "peaks"):
            content.pop(name)
        head = json.dumps(content, indent=2, ensure_ascii=False).removesuffix("\n}")
        layers = {name: json.dumps(_range_to_json(found)) for name, found in self.layers.items()}
        peaks = {name: json.dumps(_rounded(peak)) for name, peak in self.peaks.items()}
        return f'{head},\n  "layers": {_lines(layers)},\n  "peaks": {_lines(peaks)}\n}}\n'

    def require_layers(self, where: str = "the calibration table") -> None:
        """Refuse a table that INT8 cannot be made with.

        Raises:
            PrecisionError: it holds peaks alone.
        """
        if self.chosen == PEAKS_ONLY:
            raise PrecisionError(
                f"{where} holds the peaks that fp16 needs, and no ranges of layers for int8: "
                "make a whole table with segexport calibrate, or pass the folder of images"
            )

    def require_for(self, graph: Graph, where: str = "the calibration table") -> None:
        """Refuse a table that was made from something else than `graph`.

        Raises:
            PrecisionError: other weights or another size.
        """
        remedy = "calibrate again with segexport calibrate"
        if self.weights_sha256 != graph.source.weights_sha256:
            raise PrecisionError(
                f"{where} was made from other weights ({self.weights_sha256[:12]}) than the checkpoint's "
                f"({graph.source.weights_sha256[:12]}): {remedy}"
            )
        asked = (graph.contract.size, graph.contract.image_size)
        if asked != (self.size, self.image_size):
            raise PrecisionError(
                f"{where} is of a network of {format_size(self.size)} on images of {format_size(self.image_size)}, "
                f"the graph of {format_size(asked[0])} on {format_size(asked[1])}: {remedy}"
            )


def read_ranges(path: Path) -> Ranges:
    """Read a table that `Ranges.save` wrote.

    Raises:
        PrecisionError: not a table, or one of a newer segexport.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema")
        if schema != SCHEMA:
            raise PrecisionError(f"{path} has schema {schema}, this segexport reads {SCHEMA}: calibrate again")
        images = ImageSet(**content.pop("images"))
        layers = {name: _range_from_json(value) for name, value in content.pop("layers").items()}
        peaks = {name: float(value) for name, value in content.pop("peaks").items()}
        content |= {name: _size(content[name]) for name in ("size", "image_size")}
        return Ranges(**content, images=images, layers=layers, peaks=peaks)
    except OSError as error:
        raise PrecisionError(
            f"{path} cannot be read ({error.strerror}): pass a table of segexport calibrate"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrecisionError(
            f"{path} is no calibration table ({error!r}): make one with segexport calibrate"
        ) from error


def _size(value: list[int]) -> Size:
    height, width = value
    return int(height), int(width)


def _range_to_json(found: Range) -> dict[str, Any]:
    return {
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "method": found.method,
        "thresholds": {name: _rounded(value) for name, value in found.thresholds.items()},
        "sqnr_db": {name: round(value, 2) for name, value in found.sqnr_db.items()},
    }


def _range_from_json(value: dict[str, Any]) -> Range:
    found = Range(**value)
    numbers = (found.low, found.high, *found.thresholds.values())
    if found.method not in found.thresholds or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"method {found.method} has no finite threshold")
    return found


def _positive(value: float) -> float:
    """A layer that read nothing but zeros still needs a scale."""
    return value if value > 0 else 1.0


def _rounded(value: float) -> float:
    return float(f"{value:.7g}")


def _lines(entries: dict[str, str]) -> str:
    if not entries:
        return "{}"
    inner = ",\n".join(f"    {json.dumps(name)}: {text}" for name, text in entries.items())
    return f"{{\n{inner}\n  }}"
