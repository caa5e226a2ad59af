"""`Graph`: an onnx_ir model that holds its contract, and the metadata that lets a lone .onnx file explain itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from segexport.errors import BundleCorrupt, ContractError
from segexport.graph.save import save_model
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

    def copy(self) -> Graph:
        """Another graph with the same constants, to rewrite without changing this one."""
        return dataclasses.replace(self, model=self.model.clone())

    def save(self, path: Path) -> None:
        """Write one self-contained .onnx file with contract, labels, preprocessing and source in its metadata."""
        for name in _FACTS:
            self.model.metadata_props[PREFIX + name] = json.dumps(to_json(getattr(self, name)))
        save_model(self.model, path)


def open_graph(path: Path) -> Graph:
    """Read a file that `Graph.save` wrote.

    Raises:
        BundleCorrupt: the file's metadata is not segexport's.
    """
    model = ir.load(path)
    return Graph(model, **read_facts(model, path))


def is_ours(model: ir.Model) -> bool:
    """Whether `Graph.save` wrote the model's metadata."""
    return PREFIX + "contract" in model.metadata_props


def read_facts(model: ir.Model, path: Path) -> dict[str, Any]:
    """What `Graph.save` wrote into the metadata: contract, preprocessing, labels, source, rewrites, by these names.

    Raises:
        BundleCorrupt: the metadata are not segexport's; the error names `path`, where they are from.
    """
    try:
        return facts_from_json({k: json.loads(model.metadata_props[PREFIX + k]) for k in _FACTS})
    except (KeyError, ValueError, TypeError, AttributeError, ContractError) as error:
        raise BundleCorrupt(f"{path} was not written by segexport ({error!r}): build it again") from error
