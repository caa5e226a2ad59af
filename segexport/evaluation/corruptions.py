"""The 16 corruptions of Cityscapes-C: how soon does a network break in noise, blur, weather and compression?

Hendrycks and Dietterich (2019, arXiv:1903.12261) defined them for ImageNet; Michaelis et al. (2019, arXiv:1907.07484)
made them fit images of any size in the package imagecorruptions. Of its 19, zoom_blur, elastic_transform and pixelate
are left out, which move pixels away from their labels or merge them, as for Cityscapes-C (Kamann and Rother,
"Benchmarking the Robustness of Semantic Segmentation Models", CVPR 2020, arXiv:1908.05005).

The package makes twelve. Four of its functions fail with current numpy and scikit-image, or draw from a generator that
nobody can seed; those are in `corruption_code.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from segexport.errors import ContractError, DataError, EngineUnavailable
from segexport.evaluation import corruption_code
from segexport.images import UInt8
from segexport.spec import format_size

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "gaussian_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "saturate",
    "spatter",
    "jpeg_compression",
)
"""By kind: noise, blur, weather, digital."""

SEVERITIES = (1, 2, 3, 4, 5)
INSTALL = 'pip install "segexport[corruptions]"'

_MIN_SIDE = 32
_OURS = {
    "impulse_noise": corruption_code.impulse_noise,
    "glass_blur": corruption_code.glass_blur,
    "gaussian_blur": corruption_code.gaussian_blur,
    "fog": corruption_code.fog,
}


def corrupt(image: UInt8, name: str, severity: int, seed: int) -> UInt8:
    """An image with one corruption.

    What is random follows from the image's content, the name, the severity and the seed, and from nothing else: two
    images never share their noise, and the order in which they come makes no difference.

    Args:
        image: uint8 [H, W, 3] RGB, at least 32x32.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of what is random.

    Returns:
        uint8 [H, W, 3] RGB, another array than `image`.

    Raises:
        ContractError: an unknown name or severity.
        DataError: the image is too small, or not uint8 [H, W, 3].
        EngineUnavailable: imagecorruptions is not installed.
    """
    if name not in CORRUPTIONS:
        raise ContractError(f"there is no corruption '{name}': choose from {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ContractError(f"there is no severity {severity}: choose from 1 to 5")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image to corrupt is uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    if min(image.shape[:2]) < _MIN_SIDE:
        size = format_size((image.shape[0], image.shape[1]))
        raise DataError(f"an image of {size} is too small to corrupt: pass at least {_MIN_SIDE}x{_MIN_SIDE}")
    theirs = _package()  # for all, so that a run of several ends at the start or not at all
    content = hashlib.sha256(np.ascontiguousarray(image).data)
    content.update(f"{image.shape} {name} {severity} {seed}".encode())
    with _seeded(np.frombuffer(content.digest(), np.uint32)):
        if name in _OURS:
            made = _OURS[name](image, severity)
        else:
            made = np.asarray(theirs.corruption_dict[name](Image.fromarray(image), severity))
    # Cut off, not rounded, as the published images were. NaN is where spatter has not a single drop to scale by.
    return np.where(np.isnan(made), image, made).astype(np.uint8)


def require_package() -> None:
    """Refuse at the start of a run what would fail in the middle of it.

    Raises:
        EngineUnavailable: imagecorruptions, or something that it needs, is not installed.
    """
    _package()


@contextmanager
def _seeded(state: Any) -> Iterator[None]:
    """numpy's global random state, which imagecorruptions draws from, seeded; and afterwards what it was."""
    before = np.random.get_state()
    np.random.seed(state)
    try:
        with np.errstate(invalid="ignore"):
            yield
    finally:
        np.random.set_state(before)


def _package() -> Any:
    with warnings.catch_warnings():  # of pkg_resources and of names that scipy has moved
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("imagecorruptions")
        except ImportError as error:
            raise EngineUnavailable(f"corruptions need imagecorruptions ({error}): {INSTALL}") from error
