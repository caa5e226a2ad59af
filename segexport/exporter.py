"""Checkpoint + contract -> ONNX graph: the only place that traces PyTorch."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir

from segexport import __version__
from segexport.checkpoint import Checkpoint
from segexport.errors import ContractError, EngineUnavailable
from segexport.graph import postprocess, preprocess, resize
from segexport.graph.graph import Graph
from segexport.spec import (
    DYNAMIC,
    MAX_CLASSES,
    ChannelOrder,
    Contract,
    MaskSize,
    Output,
    ResizeMode,
    Size,
    network_grid,
    shortest_edge,
)
from segexport.weights import INSTALL

OPSET = 18
"""Takes LayerNormalization (17) and is accepted by every TensorRT from 10.0 on, ONNX Runtime and OpenVINO."""


def contract_for(
    checkpoint: Checkpoint,
    *,
    size: Size | None = None,
    batch: int = 1,
    channel_order: ChannelOrder = "rgb",
    output: Output | None = None,
    mask_size: MaskSize | Size = "input",
    source_size: Size | None = None,
    resize_mode: ResizeMode = "stretch",
) -> Contract:
    """The contract a checkpoint can serve, with its defaults filled in.

    Args:
        checkpoint: what will be exported.
        size: height and width of the network's input; the processor's own size if None.
        batch: images a call, or `DYNAMIC`.
        channel_order: order of the image's three channels.
        output: `mask` for segmentation and `topk` for classification if None.
        mask_size: `input` is the image's size, `network` the logits' own (a quarter of the network's input, without
            the margins of a letterbox), or height and width.
        source_size: height and width of the images, which the graph then resizes; `size` if None.
        resize_mode: how it does, see `Contract`; `shortest-edge` scales the image to the shorter side of `size`.

    Raises:
        ContractError: more than 255 classes, an output the checkpoint's head cannot give, or an image that cannot be
            resized as asked.
    """
    size = size or checkpoint.default_size
    resample = checkpoint.preprocessing.resample
    if source_size is not None and resample not in resize.FILTERS:
        raise ContractError(
            f"the checkpoint's processor resizes with Pillow's filter {resample}, which no graph here can: "
            f"leave out --source-size, or set resample to one of {', '.join(map(str, resize.FILTERS))} in its file"
        )
    if source_size is not None and resize_mode == "shortest-edge":
        Contract(size, source_size=source_size)  # refuses sizes that cannot be served before dividing by them
        size = shortest_edge(source_size, min(size))
    if checkpoint.architecture == "image-classification":
        output = output or "topk"
        if output not in ("topk", "logits"):
            raise ContractError(f"an image classifier has no {output}: pass --output topk or logits")
        topk = min(5, len(checkpoint.labels))
        return Contract(size, batch, channel_order, output, None, topk, source_size, resize_mode)
    output = output or "mask"
    if output == "topk":
        raise ContractError("a segmentation checkpoint has no topk: pass --output mask, scores or logits")
    if len(checkpoint.labels) > MAX_CLASSES:
        raise ContractError(
            f"{len(checkpoint.labels)} classes do not fit a uint8 mask: segexport serves at most {MAX_CLASSES}; "
            "merge classes and fine-tune again"
        )
    contract = Contract(size, batch, channel_order, output, None, 5, source_size, resize_mode)
    if isinstance(mask_size, str):
        mask_size = contract.image_size if mask_size == "input" else network_grid(contract.content_size)
    return dataclasses.replace(contract, mask_size=mask_size)


def export(checkpoint: Checkpoint, contract: Contract) -> Graph:
    """Trace the checkpoint's network and put the contract around it.

    Returns:
        A plain graph: preprocessing, the network as transformers computes it, post-processing. No rewrites.

    Raises:
        CheckpointError: the weights cannot be loaded.
        EngineUnavailable: torch, transformers or onnxscript is not installed.
    """
    model = _trace(checkpoint, contract)
    _tidy(model)
    preprocess.prepend(model.graph, contract, checkpoint.preprocessing)
    postprocess.append(model.graph, contract)
    model.graph.name = "segexport"
    model.producer_name, model.producer_version = "segexport", __version__
    return Graph(model, contract, checkpoint.preprocessing, checkpoint.labels, checkpoint.source)


def _trace(checkpoint: Checkpoint, contract: Contract) -> ir.Model:
    try:
        import onnxscript  # noqa: F401  (torch.onnx needs it and says so only in a stack trace)
        import torch
    except ImportError as error:
        raise EngineUnavailable(f"PyTorch and onnxscript are needed to export: {INSTALL}") from error

    # Eager attention traces to MatMul, Mul, Softmax, MatMul: the form that engines recognise.
    network = _logits_only(checkpoint.model(attention="eager"))
    dynamic = contract.batch == DYNAMIC
    # torch.export specialises dimensions of size 1, so an open batch is traced with 2 images.
    image = torch.zeros(2 if dynamic else contract.batch, 3, *contract.size)
    with _quiet_exporter(), torch.no_grad():
        program: Any = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic else None,
            optimize=False,
            verbose=False,
        )
        program.optimize()
    model: ir.Model = program.model
    return model


def _logits_only(model: Any) -> Any:
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(pixel_values=pixel_values).logits
            return logits

    return Network().eval()


def _tidy(model: ir.Model) -> None:
    """Name nodes by the module they came from, and drop what the exporter leaves behind."""
    for node in model.graph:
        scope = _scope(node)
        node.name = f"{scope}/{node.op_type}:{node.outputs[0].name}" if scope else node.name
        if node.op_type == "Reshape" and "allowzero" in node.attributes and _no_zero(node.inputs[1]):
            del node.attributes[
                "allowzero"
            ]  # without a zero in the shape it changes nothing, and old parsers refuse it
        node.metadata_props.clear()
        node.doc_string = None
    for value in list(model.graph.initializers.values()):
        value.metadata_props.clear()
        if value.name and value.name.startswith("network."):
            value.name = value.name.removeprefix("network.")
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.functions.clear()


def _scope(node: ir.Node) -> str:
    scopes: list[str] = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    inner = [scope.removeprefix("network.") for scope in scopes if scope.startswith("network.")]
    return inner[-1] if inner else ""


def _no_zero(shape: ir.Value | None) -> bool:
    constant = ir.convenience.get_const_tensor(shape) if shape is not None else None
    return constant is not None and 0 not in constant.numpy()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch.onnx without its warnings about itself; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
