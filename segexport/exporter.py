"""Checkpoint + contract -> ONNX graph."""

from __future__ import annotations

from segexport import __version__
from segexport.checkpoint import Checkpoint
from segexport.graph import postprocess, preprocess
from segexport.graph.graph import Graph
from segexport.segformer import network
from segexport.spec import Contract


def export(checkpoint: Checkpoint, contract: Contract, tensors: network.Tensors | None = None) -> Graph:
    """Write the checkpoint's network and put the contract around it.

    Args:
        checkpoint: whose network it is.
        contract: one that it can serve.
        tensors: the checkpoint's, where they have been read already.

    Returns:
        A plain graph: preprocessing, the network as transformers computes it, post-processing. No rewrites.

    Raises:
        CheckpointError: the weights cannot be read, or hold numbers that are not finite.
    """
    if tensors is None:
        tensors = checkpoint.tensors()
    model = network.write(checkpoint.structure, tensors, contract.size, contract.batch)
    preprocess.prepend(model.graph, contract, checkpoint.preprocessing)
    postprocess.append(model.graph, contract)
    model.graph.name = "segexport"
    model.producer_name, model.producer_version = "segexport", __version__
    return Graph(model, contract, checkpoint.preprocessing, checkpoint.labels, checkpoint.source)
