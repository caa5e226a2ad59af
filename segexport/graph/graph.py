"""`Graph`: an onnx_ir model that holds its contract, and the metadata that lets a lone .onnx file explain itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from segexport.errors import BundleCorrupt
from segexport.spec import Contract, Labels, PassResult, Preprocessing, Source, facts_from_json, to_json

PREFIX = "segexport."
_FACTS = ("contract", "preprocessing", "labels", "source", "rewrites")


@dataclass
class Graph:
    """A model and what it means: [uint8 image] -> contract's outputs. Passes and precisions map Graph to Graph.

    `rewrites` is the record of the passes that have run.
    """

    model: ir.Model
    contract: Contract
    preprocessing: Preprocessing
    labels: Labels
    source: Source
    rewrites: tuple[PassResult, ...] = ()

    def save(self, path: Path) -> None:
        """Write one self-contained .onnx file with contract, labels, preprocessing and source in its metadata."""
        for name in _FACTS:
            self.model.metadata_props[PREFIX + name] = json.dumps(to_json(getattr(self, name)))
        ir.save(self.model, path)


def open_graph(path: Path) -> Graph:
    """Read a file that `Graph.save` wrote.

    Raises:
        BundleCorrupt: the file's metadata is not segexport's.
    """
    model = ir.load(path)
    try:
        facts = {k: json.loads(model.metadata_props[PREFIX + k]) for k in _FACTS}
        return Graph(model, **facts_from_json(facts))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleCorrupt(f"{path} was not written by segexport ({error!r}): build it again") from error
