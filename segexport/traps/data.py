"""Known traps in a data set: files that do not pair, masks that are no masks, ids that are off by one."""

from __future__ import annotations

from pathlib import Path

from segexport.datasets.base import StoredImages
from segexport.datasets.files import FileImages
from segexport.datasets.huggingface import HuggingFaceImages, load, numbering_of
from segexport.datasets.label_sets import labels_of
from segexport.datasets.layout import choose_split
from segexport.datasets.look import Look, chosen, look
from segexport.datasets.numbering import Masks
from segexport.datasets.opening import find_layout, is_huggingface, not_found
from segexport.errors import DataError
from segexport.palette import voc_colour_map
from segexport.spec import MAX_CLASSES, Labels
from segexport.traps import data_files, data_ids, data_labels, data_masks
from segexport.traps.trap import Trap

MOST = 300
"""Images of each split that are looked at."""

_ANY = Labels(tuple(map(str, range(MAX_CLASSES))), voc_colour_map(MAX_CLASSES))
"""Takes every value but 255 as a class of its own: what is wrong with them is said here."""


def examine_data(
    path: Path, *, labels: Labels | None = None, classes: Path | None = None, split: str | None = None
) -> tuple[Trap, ...]:
    """Look for the known traps in a data set.

    Args:
        path: a data set, as for `segexport.datasets.open_data`.
        labels: a checkpoint's label set, against which the masks are held.
        classes: a file that names the classes; both left out, the data set's own are taken.
        split: one split alone; None looks at all of them, and for images that are in more than one.

    Returns:
        Errors first. Of each split at most 300 images are decoded (drawn with seed 0).

    Raises:
        DataError: no data set, or no such split, or a classes file that cannot be used.
        EngineUnavailable: a Hugging Face data set, and the `datasets` package is not installed.
    """
    traps: list[Trap] = []
    opened = _open_hosted(path, split) if is_huggingface(path) else _open_files(path, split, traps)
    own = opened[0].masks.numbering if opened else None
    try:
        named = labels_of(path, classes)
    except DataError as error:
        if classes is not None:
            raise
        named = None
        if labels is None:
            traps.append(data_labels.no_class_names(path, str(error)))
    if labels is not None and named is not None:
        traps += data_labels.other_count(path, labels, named)
    labels = labels or named
    if labels is not None and own is not None:
        traps += data_labels.other_classes(path, labels, own)
    everything: list[Look] = []
    for images in opened:
        seen = [look(images, index) for index in chosen(len(images), MOST, seed=0)]
        everything += seen
        traps += data_files.per_image(images.name, seen)
        traps += data_masks.per_split(images.name, seen)
    traps += data_files.few_images(path, opened)
    traps += data_files.shared_images(opened)
    traps += data_ids.values(path, everything, labels, own)
    return tuple(sorted(traps, key=lambda trap: trap.severity))


def _open_files(path: Path, split: str | None, traps: list[Trap]) -> list[StoredImages]:
    """The splits of a layout, without what `open_data` would refuse, which becomes traps."""
    layout = find_layout(path, need_masks=False)
    if layout is None:
        raise not_found(path)
    names = layout.names() or ("",)
    if split is not None:
        names = (choose_split(names, split, str(path)),)
    opened: list[StoredImages] = []
    for name in names:
        where = f"{path} ({name})" if name else str(path)
        try:
            listing = layout.splits[name].list()
        except DataError as error:
            traps.append(data_files.not_listed(where, str(error)))
            continue
        traps += data_files.not_paired(where, listing)
        own = layout.numbering
        opened.append(FileImages(where, listing.pairs, Masks(own.labels if own else _ANY, own, where)))
    return opened


def _open_hosted(path: Path, split: str | None) -> list[StoredImages]:
    splits = load(path)
    names = list(splits) if split is None else [choose_split(splits, split, str(path))]
    opened: list[StoredImages] = []
    for name in names:
        where = f"{path} ({name})" if name else str(path)
        own = numbering_of(splits[name])
        opened.append(HuggingFaceImages(where, splits[name], own.labels if own else _ANY, None, need_masks=False))
    return opened
