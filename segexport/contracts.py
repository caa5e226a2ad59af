"""Which contracts a checkpoint can serve."""

from __future__ import annotations

import dataclasses

from segexport.checkpoint import Checkpoint
from segexport.errors import ContractError
from segexport.spec import (
    FILTERS,
    MAX_CLASSES,
    ChannelOrder,
    Contract,
    MaskSize,
    Output,
    ResizeMode,
    Size,
    format_size,
    shortest_edge,
)


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
        mask_size: `input` is the image's size, `network` the logits' own (a quarter of the network's input for the
            published networks, without the margins of a letterbox), or height and width.
        source_size: height and width of the images, which the graph then resizes; `size` if None.
        resize_mode: how it does, see `Contract`; `shortest-edge` scales the image to the shorter side of `size`.

    Raises:
        ContractError: more than 255 classes, an output the checkpoint's head cannot give, a size too small for the
            network's stages, or an image that cannot be resized as asked.
    """
    size = size or checkpoint.default_size
    resample = checkpoint.preprocessing.resample
    if source_size is not None and resample not in FILTERS:
        raise ContractError(
            f"the checkpoint's processor resizes with Pillow's filter {resample}, which no graph here can: "
            f"leave out --source-size, or set resample to one of {', '.join(map(str, FILTERS))} in its file"
        )
    if source_size is not None and resize_mode == "shortest-edge":
        Contract(size, source_size=source_size)  # refuses sizes that cannot be served before dividing by them
        size = shortest_edge(source_size, min(size))
    if checkpoint.architecture == "image-classification":
        output = output or "topk"
        if output not in ("topk", "logits"):
            raise ContractError(f"an image classifier has no {output}: pass --output topk or logits")
        topk = min(5, len(checkpoint.labels))
        contract = Contract(size, batch, channel_order, output, None, topk, source_size, resize_mode, checkpoint.grid)
        _require_stages(checkpoint, contract)
        return contract
    output = output or "mask"
    if output == "topk":
        raise ContractError("a segmentation checkpoint has no topk: pass --output mask, scores or logits")
    if len(checkpoint.labels) > MAX_CLASSES:
        raise ContractError(
            f"{len(checkpoint.labels)} classes do not fit a uint8 mask: segexport serves at most {MAX_CLASSES}; "
            "merge classes and fine-tune again"
        )
    contract = Contract(size, batch, channel_order, output, None, 5, source_size, resize_mode, checkpoint.grid)
    _require_stages(checkpoint, contract)
    if isinstance(mask_size, str):
        mask_size = contract.image_size if mask_size == "input" else contract.grid.of(contract.content_size)
    return dataclasses.replace(contract, mask_size=mask_size)


def _require_stages(checkpoint: Checkpoint, contract: Contract) -> None:
    """Refuse a size at which a stage, or the keys and values of one, would have no row or column left."""
    structure = checkpoint.structure
    for i, size in enumerate(structure.sizes(contract.size)):
        if min(size) < structure.reductions[i]:
            raise ContractError(
                f"an input of {format_size(contract.size)} leaves stage {i + 1} {format_size(size)}, less than the "
                f"{structure.reductions[i]}x{structure.reductions[i]} that its attention takes together: "
                "give a larger --size"
            )
