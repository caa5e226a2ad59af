"""Scales and mirror images, against torch."""

from __future__ import annotations

import numpy as np
import pytest

from segexport import scenes
from segexport.errors import ContractError
from segexport.evaluation.protocol import Protocol
from segexport.evaluation.views import segment, view_size
from tests.evaluation import small

BILINEAR = 2


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.5)], ids=str)
def test_class_maps_are_the_mean_softmaxs(scales: tuple[float, ...], flip: bool) -> None:
    network = small.Quarter()
    image = scenes.scene(5, (97, 130))[0]
    sizes = [(int(97 * s + 0.5), int(130 * s + 0.5)) for s in scales]
    expected = small.views(network.logits, image, sizes, BILINEAR, flip=flip)
    found = segment(lambda v: network.logits(v[None])[0], image, Protocol(scales=scales, flip=flip), BILINEAR)
    assert len(np.unique(expected)) > 2
    assert (found == expected).mean() > 0.9999  # the rest are ties in the last bit of float32


def test_a_mirror_image_alone_gives_a_symmetric_answer() -> None:
    """Image and mirror image are the same pair of views: their class maps mirror each other."""
    network = small.Quarter()
    image = scenes.scene(6, (64, 96))[0]
    mirrored = np.ascontiguousarray(image[:, ::-1])

    def by(protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
        one, other = (segment(lambda v: network.logits(v[None])[0], i, protocol, BILINEAR) for i in (image, mirrored))
        return one, other[:, ::-1]

    one, other = by(Protocol(flip=True))
    assert (one == other).mean() > 0.999
    one, other = by(Protocol())
    assert (one == other).mean() < 0.999


@pytest.mark.parametrize(
    ("protocol", "scale", "expected"),
    [
        (Protocol(), 1.0, (375, 501)),
        (Protocol(), 0.5, (188, 251)),
        (Protocol(short_side=512), 1.0, (512, 684)),
        (Protocol(short_side=512), 0.5, (256, 342)),
        (Protocol(size=(512, 1024)), 1.75, (896, 1792)),
        (Protocol(window=(64, 64)), 0.05, (19, 25)),
    ],
)
def test_sizes_of_views(protocol: Protocol, scale: float, expected: tuple[int, int]) -> None:
    assert view_size((375, 501), protocol, scale) == expected


def test_a_view_too_small_for_a_network() -> None:
    with pytest.raises(ContractError, match=r"shown at 19x25, which is too small: leave out scale 0\.05"):
        view_size((375, 501), Protocol(), 0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (64, 64), "window": (64, 64)}, "either a size or a window"),
        ({"size": (64, 64), "short_side": 64}, "one of them"),
        ({"stride": (8, 8)}, "pass a window too"),
        ({"window": (64, 64), "stride": (65, 64)}, "stride of 65x64 leaves gaps"),
        ({"window": (64, 64), "stride": (0, 64)}, "goes nowhere"),
        ({"window": (16, 64)}, "window 16x64 is too small"),
        ({"short_side": 8}, "short side 8 is too small"),
        ({"scales": ()}, "one or more"),
        ({"scales": (1.0, 0.0)}, "each above 0"),
        ({"scales": (1.0, float("nan"))}, "each above 0"),
        ({"scales": (1.0, 1.0)}, "name one twice"),
    ],
)
def test_protocols_that_contradict_themselves(arguments: dict, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Protocol(**arguments)


def test_a_protocol_in_words() -> None:
    assert str(Protocol()) == "whole image"
    assert Protocol().plain
    full = Protocol(window=(1024, 1024), short_side=512, scales=(0.5, 1.0), flip=True)
    assert str(full) == "windows of 1024x1024, stride 768x768, short side 512, scales 0.5 1, flip"
    assert not full.plain
