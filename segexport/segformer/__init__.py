"""What a SegFormer is, said once: structure, names, tensors, configuration, random weights, and its plain graph.

config.json -> structure -> parameters -> network
checked        stages,      names and     the graph, from
               grid, head   shapes        tensors alone
"""

from segexport.segformer.config import check, read_config
from segexport.segformer.parameters import parameters
from segexport.segformer.structure import HEADS, Head, Structure, Style

__all__ = [
    "HEADS",
    "Head",
    "Structure",
    "Style",
    "check",
    "parameters",
    "read_config",
]
