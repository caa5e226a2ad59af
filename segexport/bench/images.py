"""What contenders are shown: the user's images, labelled or not, or generated scenes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from segexport import scenes
from segexport.bundle import Manifest
from segexport.datasets import LabelledImages, Sample, StoredImages, open_data
from segexport.datasets.files import FileImages
from segexport.errors import DataError
from segexport.spec import Size

SCENES = 8
"""Generated where no data is given: enough for latency and agreement."""
SEED = scenes.VALIDATION_SEED

_FOR_MIOU = "pass --data with a folder that holds images/ and masks/"


class Scenes:
    """Generated street scenes without masks: what they show are the demo's classes, and seldom a bundle's."""

    def __init__(self, count: int, size: Size) -> None:
        """Args: how many, and their height and width."""
        self.name = f"{count} generated scenes"
        self._count = count
        self._size = size

    def __len__(self) -> int:
        """Number of images."""
        return self._count

    def sample(self, index: int) -> Sample:
        """Draw one."""
        image, _ = scenes.scene(SEED + index, self._size)
        return Sample(f"scene {SEED + index}", image, None)

    def sha256(self) -> str:
        """Hash of what they are drawn from."""
        return hashlib.sha256(f"scenes {SEED} {self._count} {self._size}".encode()).hexdigest()


def open_images(
    data: str | Path | LabelledImages | None, facts: Manifest, limit: int | None
) -> tuple[LabelledImages, str]:
    """The images to show, and a sentence where they give no mIoU, how to get it.

    Args:
        data: as for `segexport.benchmark`.
        facts: the manifest of the bundle whose image size generated scenes have.
        limit: the first so many images.

    Raises:
        DataError: see `segexport.datasets.open_data`; unlike there, a data set without any masks is taken.
    """
    has_miou = facts.contract.mask_size is not None and not facts.source.random_weights
    if data is None:
        images: LabelledImages = Scenes(min(limit or SCENES, SCENES), facts.contract.image_size)
        remedy = f"{_FOR_MIOU} to measure mIoU" if has_miou else "pass --data with images of your own"
        return images, f"generated scenes were shown: {remedy}"
    if isinstance(data, str | Path):
        data = _open(Path(data), facts, limit, has_miou)
    if not has_miou or data.sample(0).mask is not None:
        return data, ""
    return data, f"{data.name} has no masks: {_FOR_MIOU} to measure mIoU"


def _open(path: Path, facts: Manifest, limit: int | None, has_miou: bool) -> StoredImages:
    if not has_miou:
        return open_data(path, facts.labels, limit=limit, need_masks=False)
    try:
        return open_data(path, facts.labels, limit=limit)
    except DataError:
        found = open_data(path, facts.labels, limit=limit, need_masks=False)
        if isinstance(found, FileImages) and any(Path(pair.mask).is_file() for pair in found.pairs):
            raise  # masks that cannot be used are not passed over
        return found
