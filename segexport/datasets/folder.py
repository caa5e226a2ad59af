"""A folder of `images/` and `masks/`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from segexport.datasets.base import Sample
from segexport.errors import DataError
from segexport.files import sha256_of
from segexport.images import IMAGE_SUFFIXES, class_ids, read_image, read_mask
from segexport.spec import Labels


class FolderImages:
    """`images/NAME.jpg` pairs with `masks/NAME.png`, whatever the suffixes."""

    def __init__(
        self, path: Path, labels: Labels, limit: int | None, need_masks: bool, folder: Path | None = None
    ) -> None:
        self.name = str(path)
        self._labels = labels
        folder = folder or path / "images"
        images = files_in(folder)
        if not images:
            raise DataError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        chosen = sorted(images)[:limit]
        masks = files_in(path / "masks") if (path / "masks").is_dir() else {}
        if not masks and need_masks:
            raise DataError(f"{path} holds images but no masks: put one masks/NAME.png beside each images/NAME")
        missing = [name for name in chosen if name not in masks] if masks else []
        if missing:
            raise DataError(f"{images[missing[0]]} has no mask: {path / 'masks' / missing[0]}.png is missing")
        self._files = [(name, images[name], masks.get(name)) for name in chosen]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._files)

    def sample(self, index: int) -> Sample:
        """Read one image and its mask."""
        name, image_path, mask_path = self._files[index]
        image = read_image(image_path)
        if mask_path is None:
            return Sample(name, image, None)
        mask = class_ids(read_mask(mask_path), self._labels, str(mask_path), (image.shape[0], image.shape[1]))
        return Sample(name, image, mask)

    def sha256(self) -> str:
        """Hash over the names and bytes of the files used."""
        digest = hashlib.sha256()
        for name, *paths in self._files:
            digest.update(name.encode())
            for path in paths:
                digest.update(sha256_of(path).encode() if path else b"-")
        return digest.hexdigest()


def files_in(folder: Path) -> dict[str, Path]:
    """The images of a folder by stem, hidden ones left out.

    Raises:
        DataError: two of one stem.
    """
    files = (
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    found: dict[str, Path] = {}
    for path in sorted(files):
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path} have the same name: keep one of them")
        found[path.stem] = path
    return found
