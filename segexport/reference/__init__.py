"""What the golden image should come out as: the checkpoint's network in NumPy, with its pre- and post-processing.

    image -> Pillow's resize, rescale, normalise -> forward -> without margins -> upsampled -> best class

It needs no torch, and is the same with torch installed. `bench` goes on comparing with PyTorch itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from segexport import machine
from segexport.checkpoint import Checkpoint
from segexport.decision import Decision
from segexport.images import UInt8, resize_image
from segexport.reference.forward import Floats, Tensors, logits, upsampled_positions
from segexport.segformer import Structure
from segexport.spec import Contract, Preprocessing, Size

_ROWS = 16
"""Rows of pixels that are decided at a time."""


def decide(checkpoint: Checkpoint, tensors: Tensors, contract: Contract, rgb: UInt8) -> Decision:
    """What the checkpoint decides for an image under a contract.

    Args:
        checkpoint: whose preprocessing and structure are taken.
        tensors: its own, float32, by their names on disk.
        contract: sizes, resize mode and output. The image is RGB, whatever its channel order.
        rgb: uint8 [H, W, 3] in the contract's image size.

    Returns:
        A class map, uint8 [*contract.mask_size], ties to the lowest id; or a classifier's best classes, int32 [k], best
        first.
    """
    structure = checkpoint.structure
    whole = _prepared(rgb, contract, checkpoint.preprocessing)
    # OpenBLAS's own threads wait for each other by spinning: where other programs have the cores, two took 30 times as
    # long as one.
    with threadpool_limits(1, user_api="blas"):
        found = logits(structure, tensors, whole)
        if contract.mask_size is None:
            return np.argsort(-found, kind="stable")[: contract.topk].astype(np.int32)
        return _best(_without_margins(found, contract, structure), contract.mask_size)


def _prepared(rgb: UInt8, contract: Contract, preprocessing: Preprocessing) -> Floats:
    """float32 [*contract.size, 3]: as the processor's arithmetic says; a letterboxed image inside of zeros."""
    image = resize_image(rgb, contract.content_size, preprocessing.resample).astype(np.float32)
    if preprocessing.do_rescale:
        image *= np.float32(preprocessing.rescale_factor)
    if preprocessing.do_normalize:
        image -= np.asarray(preprocessing.mean, np.float32)
        image /= np.asarray(preprocessing.std, np.float32)
    (height, width), (top, left) = contract.content_size, contract.content_offset
    whole: Floats = np.zeros((*contract.size, 3), np.float32)
    whole[top : top + height, left : left + width] = image
    return whole


def _without_margins(found: Floats, contract: Contract, structure: Structure) -> Floats:
    """The logits [h, w, classes] of the image alone: those of the patches that begin in it."""
    if contract.content_size == contract.size:
        return found
    patch, stride = structure.patches[0], structure.strides[0]
    rows, columns = (
        slice(offset // stride, offset // stride + (side + 2 * (patch // 2) - patch) // stride + 1)
        for offset, side in zip(contract.content_offset, contract.content_size, strict=True)
    )
    return found[rows, columns]


def _best(found: Floats, size: Size) -> Decision:
    """The class with the largest logit at every pixel of `size`, the first of equal ones."""
    height, width, _ = found.shape
    rows, columns = upsampled_positions(height, size[0]), upsampled_positions(width, size[1])
    planes = np.ascontiguousarray(found.transpose(2, 0, 1))
    mask = np.empty(size, np.uint8)

    def compute(start: int) -> None:
        block = slice(start, start + _ROWS)
        mask[block] = (rows[block] @ planes @ columns.T).argmax(0)

    with ThreadPoolExecutor(machine.cores()) as pool:
        list(pool.map(compute, range(0, size[0], _ROWS)))
    return mask
