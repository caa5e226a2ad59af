"""Traps in the files of a data set: what cannot be read or does not pair, and images that two splits share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from segexport.datasets.base import StoredImages
from segexport.datasets.files import FileImages
from segexport.datasets.layout import Listing, family
from segexport.datasets.look import Look, is_transposed
from segexport.errors import DataError
from segexport.images import read_bytes
from segexport.traps.trap import Trap

FEW = 20
_HASHED = 5000
"""Rows of a Hugging Face split that are compared; of files, all whose size occurs in two splits."""

_SHOWN = 3


def not_listed(where: str, error: str) -> Trap:
    """A folder whose files cannot be listed as pairs."""
    return Trap(
        "unlistable", "error", where, error, "nothing of this split can be opened", "put the folder's files in order"
    )


def not_paired(where: str, listing: Listing) -> Iterator[Trap]:
    """Images without masks, and masks without images."""
    missing = [pair for pair in listing.pairs if not pair.has_mask]
    if not listing.pairs:
        yield Trap("no-images", "error", where, "no images", "there is nothing to read", "put the images there")
    elif len(missing) == len(listing.pairs) and not listing.orphans and family(where.split("(")[-1]) == "test":
        return  # test sets are published without masks
    elif missing:
        yield Trap(
            "image-without-mask",
            "error",
            where,
            f"{len(missing)} of {len(listing.pairs)} images have no mask: {some([pair.image for pair in missing])}",
            "such a folder is refused, since an image without labels teaches nothing",
            f"add the masks ({missing[0].mask}), or take these images out",
            code="\n".join(
                (
                    "from pathlib import Path",
                    f"for image in {[pair.image for pair in missing]!r}:",
                    '    Path(image).rename(Path(image + ".without-mask"))',
                )
            )
            if len(missing) <= FEW
            else "",
        )
    if listing.orphans:
        yield Trap(
            "mask-without-image",
            "warning",
            where,
            f"{len(listing.orphans)} masks have no image: {some(listing.orphans)}",
            "they are never read, and may be images that were forgotten or named otherwise",
            "give masks and images the same names, or take these masks out",
        )


def per_image(where: str, seen: Sequence[Look]) -> Iterator[Trap]:
    """Unreadable and 16-bit images, and masks that do not have their image's size."""
    deep = [one for one in seen if "16 bits" in one.image_error]
    broken = [one for one in seen if one.image_error and one not in deep]
    if broken:
        yield Trap(
            "unreadable-image",
            "error",
            where,
            f"{len(broken)} of {len(seen)} images cannot be read: {some([one.image_error for one in broken], 1)}",
            "training and evaluation stop at the first one",
            "replace the files, or take them and their masks out",
        )
    if deep:
        yield Trap(
            "image-16-bit",
            "error",
            where,
            f"{len(deep)} of {len(seen)} images have 16 bits a channel: {some([one.image_name for one in deep])}",
            "models take 8 bits, and which 8 of the 16 carry the picture only its owner knows",
            "scale them to 8 bits, for example by the range that the sensor uses",
            code=_to_8_bits(deep[0]),
        )
    turned = [one for one in seen if is_transposed(one)]
    if turned:
        one = turned[0]
        yield Trap(
            "mask-not-turned",
            "error",
            where,
            f"{len(turned)} of {len(seen)} images are turned by EXIF orientation {one.orientation}, their masks are "
            f"not: {one.mask_name}",
            "the image is read upright, so that labels lie across it",
            "turn those masks as their images are",
            code=_turn(one),
        )
    unclear = [one for one in seen if one.orientation != 1 and one.has_mask and _looks_the_same_turned(one)]
    if unclear:
        yield Trap(
            "image-turned",
            "warning",
            where,
            f"{len(unclear)} of {len(seen)} images are turned by EXIF orientation {unclear[0].orientation}, and sizes "
            f"do not tell whether their masks are too: {unclear[0].image_name}",
            "the image is read upright; a mask drawn on the unturned one would lie across it",
            "look at one such pair; where the mask is not upright, turn it",
            code=_turn(unclear[0]),
        )
    other = [
        one
        for one in seen
        if one.mask_size and one.image_size and one.mask_size != one.image_size and one not in turned
    ]
    if other:
        one = other[0]
        assert one.mask_size is not None and one.image_size is not None  # noqa: PT018  both were filtered on
        yield Trap(
            "mask-size",
            "error",
            where,
            f"{len(other)} of {len(seen)} masks have another size than their image: {one.mask_name} is "
            f"{one.mask_size[0]}x{one.mask_size[1]}, its image {one.image_size[0]}x{one.image_size[1]}",
            "labels and pixels do not lie on each other, and the pair is refused",
            "take the right mask, or resize it by nearest neighbour, never by interpolation",
            code=_resize(one),
        )


def few_images(path: Path, opened: Sequence[StoredImages]) -> Iterator[Trap]:
    """A data set too small to learn from."""
    training = [one for one in opened if family(one.name.split("(")[-1]) == "train"] or list(opened)
    count = sum(len(one) for one in training)
    if 0 < count < FEW:
        yield Trap(
            "few-images",
            "warning",
            str(path),
            f"{count} image{'s' * (count != 1)} to train with",
            "a model learns them by heart, and a validation split of a tenth is an image or two",
            f"label more, at least some {FEW}; start from a trained checkpoint and train few steps",
        )


def shared_images(opened: Sequence[StoredImages]) -> Iterator[Trap]:
    """Images that are in two splits, byte for byte."""
    digests = _digests(opened)
    for i, one in enumerate(opened):
        for j in range(i + 1, len(opened)):
            both = sorted(set(digests[i]) & set(digests[j]))
            if both:
                first = both[0]
                yield Trap(
                    "split-overlap",
                    "error",
                    f"{one.name}, {opened[j].name}",
                    f"{len(both)} image{'s are' if len(both) > 1 else ' is'} in both, such as {digests[i][first]} and "
                    f"{digests[j][first]}",
                    "a model is scored on what it was trained on, and the score reads high",
                    "take them out of one of the two",
                    code="\n".join(
                        (
                            "from pathlib import Path",
                            f"for image in {[digests[j][key] for key in both]!r}:",
                            '    Path(image).rename(Path(image + ".duplicate"))  # and its mask',
                        )
                    )
                    if isinstance(opened[j], FileImages) and len(both) <= FEW
                    else "",
                )


def some(names: Sequence[str], count: int = _SHOWN) -> str:
    """The first few, and how many more."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def _digests(opened: Sequence[StoredImages]) -> list[dict[str, str]]:
    """For each split, digest -> name of the images that may also be in another one."""
    files = [one for one in opened if isinstance(one, FileImages)]
    if len(files) == len(opened):
        sizes = [_sizes(one) for one in files]
        return [
            {
                digest: name
                for size, names in of_one.items()
                if any(size in other for other in sizes if other is not of_one)
                for name in names
                if (digest := _digest_of(name))
            }
            for of_one in sizes
        ]
    found = []
    for one in opened:
        digests = {}
        for index in range(min(len(one), _HASHED)):
            try:
                stored = one.stored(index)
            except DataError:
                continue
            digests[hashlib.sha256(stored.image).hexdigest()] = stored.image_name
        found.append(digests)
    return found


def _sizes(images: FileImages) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for pair in images.pairs:
        try:
            found.setdefault(Path(pair.image).stat().st_size, []).append(pair.image)
        except OSError:
            continue
    return found


def _digest_of(name: str) -> str:
    try:
        return hashlib.sha256(read_bytes(Path(name))).hexdigest()
    except DataError:
        return ""


def _looks_the_same_turned(one: Look) -> bool:
    """Whether turning the image leaves it the size it has stored."""
    return one.image_size is not None and one.image_size == one.stored_size == one.mask_size


def _to_8_bits(one: Look) -> str:
    return f"""import numpy as np
from PIL import Image
pixels = np.asarray(Image.open({one.image_name!r})).astype(float)
low, high = np.percentile(pixels, (0.1, 99.9))  # the same two numbers for every image of one camera
Image.fromarray((255 * ((pixels - low) / (high - low)).clip(0, 1)).astype(np.uint8)).save("8-bit.png")"""


def _turn(one: Look) -> str:
    return f"""from PIL import Image, ImageOps
mask = Image.open({one.mask_name!r})
mask.getexif()[0x0112] = {one.orientation}  # the image's orientation
ImageOps.exif_transpose(mask).save({one.mask_name!r})"""


def _resize(one: Look) -> str:
    assert one.image_size is not None
    height, width = one.image_size
    return f"""from PIL import Image
mask = Image.open({one.mask_name!r})
mask.resize(({width}, {height}), Image.Resampling.NEAREST).save({one.mask_name!r})"""
