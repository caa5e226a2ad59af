"""`Graph`: an onnx_ir model that holds its contract, and the metadata that lets a lone .onnx file explain itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from segexport.errors import BundleCorrupt
from segexport.spec import (
    Contract,
    Labels,
    PassResult,
    Preprocessing,
    Source,
    from_json,
    pass_result_from_json,
    to_json,
)

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
    rewrites: list[PassResult] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write one self-contained .onnx file with contract, labels, preprocessing and source in its metadata."""
        facts = {
            "contract": self.contract,
            "preprocessing": self.preprocessing,
            "labels": self.labels,
            "source": self.source,
            "rewrites": self.rewrites,
        }
        for name, value in facts.items():
            self.model.metadata_props[PREFIX + name] = json.dumps(to_json(value))
        ir.save(self.model, path)


def open_graph(path: Path) -> Graph:
    """Read a file that `Graph.save` wrote.

    Raises:
        BundleCorrupt: the file's metadata is not segexport's.
    """
    model = ir.load(path)
    try:
        facts = {k: json.loads(model.metadata_props[PREFIX + k]) for k in _FACTS}
        return Graph(
            model,
            from_json(Contract, facts["contract"]),
            from_json(Preprocessing, facts["preprocessing"]),
            from_json(Labels, facts["labels"]),
            from_json(Source, facts["source"]),
            [pass_result_from_json(r) for r in facts["rewrites"]],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BundleCorrupt(f"{path} was not written by segexport ({error!r}): build it again") from error
