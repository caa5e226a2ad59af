"""Which layers compute in INT8: one description, from which every target's graph is made."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from segexport.errors import PrecisionError
from segexport.files import write_file
from segexport.precision.layers import Layer, layers
from segexport.spec import Precision, to_json

SCHEMA = 1


@dataclass(frozen=True)
class Placement:
    """The layers that compute in INT8, by name; every other stays in the higher precision.

    One that names none is a finding too: nothing beat `precision`. `found` records how it was found, for people.
    """

    int8: tuple[str, ...]
    precision: Precision = "int8"
    engine: str | None = None
    weights_sha256: str | None = None
    found: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the placement as JSON."""
        write_file(path, (json.dumps({"schema": SCHEMA, **to_json(self)}, indent=2) + "\n").encode())

    def require_for(self, graph: ir.Graph, weights_sha256: str, where: str = "the placement") -> None:
        """Refuse a placement that was not made for this network.

        Raises:
            PrecisionError: other weights, or layers that the portable graph does not have.
        """
        if self.weights_sha256 not in (None, weights_sha256):
            raise PrecisionError(f"{where} was found for other weights than the checkpoint's: run segexport tune again")
        known = {layer.name for layer in layers(graph)}
        unknown = [name for name in self.int8 if name not in known]
        if unknown:
            raise PrecisionError(
                f"{where} names {unknown[0]}, which is no layer of this network, unlike {sorted(known)[0]}: "
                "the placement.json of a bundle built with int8 has their names"
            )


def read_placement(path: Path) -> Placement:
    """Read a placement that `Placement.save` or a person wrote.

    Raises:
        PrecisionError: not a placement, or one of a newer segexport.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise PrecisionError(f"{path} has schema {schema}, this segexport reads {SCHEMA}: run segexport tune again")
        names = content.pop("int8")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("int8 is no list of layer names")
        return Placement(tuple(names), **content)
    except OSError as error:
        raise PrecisionError(f"{path} cannot be read ({error.strerror}): pass a placement of segexport tune") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrecisionError(f"{path} is no placement ({error!r}): make one with segexport tune") from error


def default_placement(graph: ir.Graph) -> Placement:
    """Every convolution and linear layer but the first, which reads pixels, and the classifier, which decides.

    Both are among the few that a search may add (`segexport tune`); quantising them costs accuracy and saves little.
    """
    found = list(layers(graph))
    ends = {found[0].name, found[-1].name} if found else set()
    return Placement(tuple(layer.name for layer in found if layer.name not in ends))


def placed(graph: ir.Graph, placement: Placement, without: Collection[str] = ()) -> list[Layer]:
    """The layers of `graph` that the placement has in INT8, but for the kinds `without`.

    Rewrites for an engine may have merged some away; those are left out.
    """
    chosen = set(placement.int8)
    return [layer for layer in layers(graph) if layer.name in chosen and layer.kind not in without]
