"""Checkpoints of the SegFormer authors' repository and of mmsegmentation: `.pth` files, read by mapping their names.

    reading -> structure -> names -> conversion -> function
    file       facts from    one      tensors in    what transformers' modules
               shapes        table    our names     would compute otherwise

Our names are those of transformers' checkpoints on disk (`segformer.encoder.block.0.0.attention.self.query.weight`),
which 4.57 has in memory too and 5.x renames when it loads.
"""

from segexport.original.conversion import Converted, convert, to_original
from segexport.original.disk_names import disk_name
from segexport.original.function import folded, restore
from segexport.original.labels import labels_of
from segexport.original.reading import Contents, read
from segexport.original.structure import Structure, Style

SUFFIXES = (".pth", ".pt")
"""Names of files that are taken for a checkpoint of one of the two repositories."""

__all__ = [
    "SUFFIXES",
    "Contents",
    "Converted",
    "Structure",
    "Style",
    "convert",
    "disk_name",
    "folded",
    "labels_of",
    "read",
    "restore",
    "to_original",
]
