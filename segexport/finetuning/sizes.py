"""How large crops are, and at which size the network will see whole images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segexport.spec import Size, shortest_edge


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training, (height, width).

    Attributes:
        crop: what is trained on.
        short_side: the images' shorter side before the random resize: the network's, as in the paper, where ADE20K's is
            512 for crops of 512 and Cityscapes' 1024 for crops of 1024.
        network: what whole images are brought to in validation, and what the finished checkpoint's processor says.
    """

    crop: Size
    short_side: int
    network: Size


def choose_sizes(
    images: Mapping[Size, int],
    processor: Size,
    network: Size | None = None,
    crop: Size | None = None,
    *,
    step: int = 32,
) -> Sizes:
    """Sizes for images of the sizes counted in `images`.

    Args:
        images: how many images have each size.
        processor: what the start's processor names.
        network: asked for. If None, images that all have the commonest one's aspect, within 2 %, keep it, at the
            default crop's shorter side; else it is the default crop.
        crop: asked for. If None, the network's size if that was asked for; else what the processor names, but no larger
            than the commonest image.
        step: what sides of a resized image are multiples of: pixels for a cell of the network's last stage.
    """
    common = max(images, key=lambda size: images[size])
    default = min(processor[0], common[0]), min(processor[1], common[1])
    if network is None:
        network = _whole(images, common, min(default), step) or default
        return Sizes(crop or default, min(network), network)
    return Sizes(crop or network, min(network), network)


def _whole(images: Mapping[Size, int], common: Size, short: int, step: int) -> Size | None:
    """The size of whole images of the shorter side `short`, in multiples of `step`; None where their aspects differ."""
    aspect = common[1] / common[0]
    if any(abs(width / height / aspect - 1) > 0.02 for height, width in images):
        return None
    if short == min(common):
        return common
    height, width = shortest_edge(common, short)
    return _rounded(height, step), _rounded(width, step)


def _rounded(side: int, step: int) -> int:
    return max(step, round(side / step) * step)
