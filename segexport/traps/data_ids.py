"""Traps in the ids of a data set's masks: counted from 1, scaled to be seen, outside the label set, hardly there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from segexport.datasets.look import Look
from segexport.datasets.numbering import UNKNOWN, Masks, Numbering
from segexport.spec import IGNORE_INDEX, Labels
from segexport.traps.data_files import some
from segexport.traps.data_labels import reduce_code
from segexport.traps.data_masks import rewrite
from segexport.traps.trap import Trap

RARE_SHARE = 0.001
"""Of the labelled pixels: a class below it hardly weighs in a mean over pixels."""

RARE_IMAGES = 5
_ENOUGH = 20
"""Images from which on a class in fewer than `RARE_IMAGES` of them is called rare."""


def values(path: Path, seen: Sequence[Look], labels: Labels | None, own: Numbering | None) -> Iterator[Trap]:
    """Values of all masks together, held against the label set."""
    usable = [one for one in seen if one.values is not None and one.mask_format != "JPEG"]
    pixels: dict[int, int] = {}
    images: dict[int, int] = {}
    for one in usable:
        assert one.values is not None and one.ids is not None and one.counts is not None  # noqa: PT018
        keys = one.ids if own is not None else one.values
        for key in set(keys.tolist()):
            images[key] = images.get(key, 0) + 1
        for key, count in zip(keys.tolist(), one.counts.tolist(), strict=True):
            pixels[key] = pixels.get(key, 0) + count
    if not pixels:
        return
    example = next((one for one in usable), None)
    where = str(Path(example.mask_name).parent) if example and Path(example.mask_name).is_file() else ""
    if own is not None:
        if UNKNOWN in pixels:
            yield _outside_layout(path, usable, own)
        yield from _rare(path, own.names, 0, pixels, images, len(usable))
        return
    found = sorted(pixels)
    odd = _binary(path, found, where) or _scaled(path, found, labels, where) or _counted(path, found, labels, where)
    if odd is not None:
        yield odd
    elif labels is not None:
        yield from _rare(path, labels.names, int(labels.reduce), pixels, images, len(usable))


def _outside_layout(path: Path, usable: Sequence[Look], own: Numbering) -> Trap:
    masks = Masks(own.labels, own, str(path))
    found: dict[str, str] = {}
    for one in usable:
        assert one.values is not None and one.ids is not None  # noqa: PT018
        for value in one.values[one.ids == UNKNOWN].tolist():
            found.setdefault(masks.show(value), one.mask_name)
    return Trap(
        "ids-outside",
        "error",
        str(path),
        f"values that {own.what} does not define: {some(list(found), 8)} (such as in {next(iter(found.values()))})",
        "a mask with such a value is refused, since nobody knows what it stands for",
        "write the masks again with the data set's own values; resizing must be by nearest neighbour",
    )


def _binary(path: Path, found: Sequence[int], where: str) -> Trap | None:
    if set(found) != {0, IGNORE_INDEX}:
        return None
    return Trap(
        "mask-binary-255",
        "error",
        str(path),
        "masks hold 0 and 255 alone",
        "255 means ignored: everything but the background would be left out of loss and scores",
        "write 1 in the place of 255, and name two classes, such as background and the object",
        code=rewrite(where, "(np.asarray(Image.open(file)) > 127).astype(np.uint8)") if where else "",
    )


def _scaled(path: Path, found: Sequence[int], labels: Labels | None, where: str) -> Trap | None:
    """Ids spread over the range of a byte, so that a person can see them."""
    most = len(labels) if labels is not None else len(found)
    if len(found) < 3 or len(found) > most + 1 or found[0] != 0 or found[-1] <= most or max(found) > IGNORE_INDEX:
        return None
    kept = [v for v in found if v != IGNORE_INDEX]
    for candidates in (list(found), kept):
        step = math.gcd(*candidates)
        spread = [round(i * candidates[-1] / (len(candidates) - 1)) for i in range(len(candidates))]
        even = len(candidates) > 2 and max(abs(a - b) for a, b in zip(spread, candidates, strict=True)) <= 1
        if len(candidates) > 2 and (step > 1 or (even and candidates[-1] > len(candidates))):
            shown = ", ".join(map(str, found[:8]))
            return Trap(
                "mask-scaled",
                "error",
                str(path),
                f"masks hold {len(found)} values with gaps in between: {shown}{', ...' if len(found) > 8 else ''}",
                "ids were scaled to be seen by eye; as they are they lie outside the label set",
                "write the number of each value in its place",
                code=rewrite(
                    where,
                    f"np.searchsorted({candidates!r}, np.asarray(Image.open(file))).astype(np.uint8)",
                )
                if where
                else "",
            )
    return None


def _counted(path: Path, found: Sequence[int], labels: Labels | None, where: str) -> Trap | None:
    """Ids from 1, one class more than the label set, or any other id outside it."""
    ids = [value for value in found if value != IGNORE_INDEX]
    if not ids:
        return None
    from_one = rewrite(where, "np.asarray(Image.open(file)).astype(np.uint8) - 1  # 0 becomes 255") if where else ""
    if labels is None:
        if ids[0] != 1 or len(ids) < 2:
            return None
        return Trap(
            "labels-from-one",
            "warning",
            str(path),
            f"masks hold ids from 1 to {ids[-1]} and no 0",
            "ids count from 0: read as they are, the first class never occurs and every name is off by one",
            "if the first class is 1, set do_reduce_labels (0 becomes ignored, k becomes k - 1), or write k - 1",
            code=reduce_code(),
        )
    count = len(labels)
    if labels.reduce:
        if 0 in ids and ids[-1] == count - 1:
            return Trap(
                "reduced-needlessly",
                "warning",
                str(path),
                f"do_reduce_labels is set, but masks hold ids from 0 to {count - 1} for {count} classes",
                "0 would be ignored and every class get the id of the one before",
                "if 0 is the first class, turn do_reduce_labels off",
                code=reduce_code(False),
            )
        count += 1
    elif ids[-1] == count and ids[0] == 1:
        return Trap(
            "labels-from-one",
            "error",
            str(path),
            f"masks hold ids from 1 to {count} and no 0, for {count} classes",
            f"ids count from 0: {count} has no class, and every other id stands for the next class's name",
            "set do_reduce_labels (0 becomes ignored, k becomes k - 1), or write k - 1 into the masks",
            code=f"{reduce_code()}\n\n# or, once and for all:\n{from_one}" if from_one else reduce_code(),
        )
    elif ids[-1] == count and ids[0] == 0:
        return Trap(
            "one-class-more",
            "error",
            str(path),
            f"masks hold ids from 0 to {count}: {count + 1} values for {count} classes",
            "either 0 is what is unlabelled and ids count from 1, or a class has no name",
            "if 0 is unlabelled, set do_reduce_labels; else name it among the classes and train a head for "
            f"{count + 1}",
            code=reduce_code(),
        )
    outside = [value for value in ids if value >= count]
    if not outside:
        return None
    return Trap(
        "ids-outside",
        "error",
        str(path),
        f"ids outside the {len(labels)} classes: {some([str(value) for value in outside], 8)}",
        "a mask with such an id is refused; in plain PyTorch it stops the loss, on a GPU without saying where",
        "name all classes (--classes), or map the masks' ids to these",
    )


def _rare(
    path: Path, names: Sequence[str], first: int, pixels: dict[int, int], images: dict[int, int], looked_at: int
) -> Iterator[Trap]:
    """Classes that hardly occur; `first` is the mask value of the first class."""
    labelled = sum(count for key, count in pixels.items() if first <= key < first + len(names))
    absent = [name for index, name in enumerate(names) if index + first not in pixels]
    rare = [
        f"{name} ({pixels[key] / labelled:.3%} of the pixels, {images[key]} images)"
        for index, name in enumerate(names)
        if (key := index + first) in pixels
        and (pixels[key] < RARE_SHARE * labelled or (looked_at >= _ENOUGH and images[key] < RARE_IMAGES))
    ]
    if absent:
        yield Trap(
            "absent-class",
            "warning",
            str(path),
            f"{len(absent)} of {len(names)} classes are in none of {looked_at} masks: {some(absent, 8)}",
            "nothing teaches them, and a mean over classes leaves them out or counts them as 0",
            "add images that show them, or leave their names out of the classes",
        )
    if rare:
        yield Trap(
            "rare-class",
            "warning",
            str(path),
            f"{len(rare)} of {len(names)} classes hardly occur: {some(rare)}",
            "plain cross-entropy learns them last or never, while mean IoU counts each as much as road and sky",
            "add images that show them, or weight classes or take hard pixels when training",
        )
