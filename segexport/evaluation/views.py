"""Views of one image (scales, mirror images) and what they say together.

As test-time augmentation of mmsegmentation (`SegTTAModel` behind `TestTimeAug`): the image is resized by each scale and
flipped, each view's logits are brought back to the image's size, and the mean of their softmax decides. Images are
resized by Pillow with the checkpoint's filter, as its processor does, where mmsegmentation takes OpenCV's bilinear.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segexport.errors import ContractError
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.upsample import Floats32, add_softmax, class_map
from segexport.images import UInt8, resize_image
from segexport.spec import MIN_SIDE, Size, format_size

Logits = Callable[[UInt8], Floats32]
"""float32 [classes, h, w] of one view, uint8 [H, W, 3] RGB: at its size, or coarser."""


def segment(logits: Logits, rgb: UInt8, protocol: Protocol, resample: int) -> UInt8:
    """Class ids, uint8 [H, W], of an image, uint8 [H, W, 3] RGB, from all its views.

    Args:
        logits: of one view.
        rgb: the image.
        protocol: scales and flip, and what a scale of 1 is.
        resample: Pillow's filter for the views.

    Raises:
        ContractError: a view with a side of less than 32 pixels, which no network takes.
    """
    size = rgb.shape[0], rgb.shape[1]
    total: Floats32 | None = None
    for scale in protocol.scales:
        view = resize_image(rgb, view_size(size, protocol, scale), resample)
        for mirrored in (False, True) if protocol.flip else (False,):
            found = logits(np.ascontiguousarray(view[:, ::-1]) if mirrored else view)
            if len(protocol.scales) == 1 and not protocol.flip:
                return class_map(found, size)
            if total is None:
                total = np.zeros((len(found), *size), np.float32)
            add_softmax(total, found[..., ::-1] if mirrored else found)
            del found  # before the next view's
    assert total is not None
    return class_map(total, size)


def view_size(image: Size, protocol: Protocol, scale: float) -> Size:
    """Height and width of the view of an image at one of a protocol's scales, rounded as mmcv's `rescale_size`.

    Raises:
        ContractError: a side of less than 32 pixels, shown whole.
    """
    base = protocol.size or image
    factor = scale if protocol.short_side is None else scale * protocol.short_side / min(image)
    size = int(base[0] * factor + 0.5), int(base[1] * factor + 0.5)
    if min(size) < (1 if protocol.window else MIN_SIDE):
        raise ContractError(
            f"an image of {format_size(image)} would be shown at {format_size(size)}, which is too small: "
            f"leave out scale {scale:g}, or pass a larger size or short side"
        )
    return size
