"""Checkpoints of the SegFormer authors' repository and of mmsegmentation: `.pth` files, read by mapping their names.

    structure -> names -> conversion -> function
    facts from   one      tensors in    what transformers' modules
    shapes       table    our names     would compute otherwise

The file itself is read by `weights.state_dicts`.

Our names are those of transformers' checkpoints on disk (`segformer.encoder.block.0.0.attention.self.query.weight`),
which 4.57 has in memory too and 5.x renames when it loads.
"""

from segexport.original.conversion import Converted, convert, to_original
from segexport.original.function import folded, load_model, restore
from segexport.original.labels import labels_of
from segexport.segformer import Structure, Style
from segexport.weights.state_dicts import Contents, read

SUFFIXES = (".pth", ".pt")
"""Names of files that are taken for a checkpoint of one of the two repositories."""

__all__ = [
    "SUFFIXES",
    "Contents",
    "Converted",
    "Structure",
    "Style",
    "convert",
    "folded",
    "labels_of",
    "load_model",
    "read",
    "restore",
    "to_original",
]
