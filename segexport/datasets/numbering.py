"""What the values in masks mean, and the one way from them to a label set's ids.

A layout that knows its classes (Cityscapes, ADE20K, ...) has a `Numbering`: every value its masks may hold, the class
or the kind of void each stands for. That table decides, whatever `Labels.reduce` says: ADE20K's 1 is `wall` and becomes
the id of `wall`, for a checkpoint with and without `do_reduce_labels`. Where a layout knows nothing (a folder of
images/ and masks/), `Labels.reduce` decides alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport.errors import DataError, SegexportWarning
from segexport.images import UInt8, class_ids, decode_colours, decode_mask
from segexport.palette import Palette, palette_for
from segexport.spec import IGNORE_INDEX, Labels, Size

UNKNOWN = -1
"""What `Masks.classify` gives for a value that stands for nothing."""

VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored"})
"""Names of what is no class, in lower case."""

Values = npt.NDArray[Any]
"""Mask values as stored, uint8, int32 or int64."""


class LabelsDisagree(SegexportWarning):
    """A checkpoint's label set says otherwise than the layout of the data, whose numbering was used."""


@dataclass(frozen=True)
class Numbering:
    """What the values of a layout's masks stand for.

    Attributes:
        what: the layout, for messages.
        values: (mask value, name), classes in the order of their ids and void among them where the values have it.
        void: the values that are no class and become 255.
        from_one: ids count from 1 and 0 is unlabelled, as in ADE20K.
        packed: masks are colour images, their value is R + 256 G + 65536 B.
        palette: a colour for each of `names`, where the data say so.
    """

    what: str
    values: tuple[tuple[int, str], ...]
    void: frozenset[int] = frozenset()
    from_one: bool = False
    packed: bool = False
    palette: Palette | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of their ids."""
        return tuple(name for value, name in self.values if value not in self.void)

    @property
    def labels(self) -> Labels:
        """The label set these masks were made for."""
        return Labels(self.names, self.palette or palette_for(self.names), self.from_one)

    def table(self, labels: Labels, where: str) -> dict[int, int]:
        """Mask value -> id of `labels`, 255 for void.

        By name where both sides have the same names, else by order where there are as many; a label set with one
        class more than the layout may count its one void value as a class (ADE20K with 151 classes).

        Raises:
            DataError: neither.
        """
        classes = [(value, name) for value, name in self.values if value not in self.void]
        void = [value for value, _ in self.values if value in self.void]
        if len(labels) == len(self.values) and len(void) == 1:
            classes, void = list(self.values), []
        if len(labels) != len(classes):
            raise DataError(
                f"{where} has the {len(classes)} classes of {self.what}, but the label set has {len(labels)}: pass "
                "the data it was trained on, or a checkpoint and --classes that name these classes"
            )
        ours, theirs = _plain(labels.names), _plain(name for _, name in classes)
        by_name = len(set(ours)) == len(ours) and set(ours) == set(theirs)
        ids = [ours.index(name) for name in theirs] if by_name else range(len(classes))
        found = {value: index for (value, _), index in zip(classes, ids, strict=True)}
        return {**found, **dict.fromkeys([*void, *self._always_void()], IGNORE_INDEX)}

    def _always_void(self) -> list[int]:
        """255 in an id map, where it is not a class; of colours, none."""
        return [] if self.packed or any(value == IGNORE_INDEX for value, _ in self.values) else [IGNORE_INDEX]


class Masks:
    """How a data set's masks are read: from their bytes to the ids of a label set.

    Args:
        labels: the label set.
        numbering: what the layout knows of its values; None takes them as the label set's own, or one above it.
        where: the data set, for messages.

    Raises:
        DataError: the layout's classes are not as many as the label set's.
    """

    def __init__(self, labels: Labels, numbering: Numbering | None, where: str) -> None:
        self.labels = labels
        self.numbering = numbering
        if numbering is None:
            first = int(labels.reduce)
            table = {0: IGNORE_INDEX} if labels.reduce else {}
            self._table = {**table, **{i + first: i for i in range(len(labels))}, IGNORE_INDEX: IGNORE_INDEX}
        else:
            self._table = numbering.table(labels, where)
            if labels.reduce != numbering.from_one and len(labels) == len(numbering.names):
                says, is_ = ("", "from 0") if labels.reduce else ("not ", "from 1 (0 is unlabelled)")
                warnings.warn(
                    f"the label set does {says}reduce labels, but ids in {numbering.what}'s masks are read {is_}: "
                    f"{where} is read as {numbering.what} says",
                    LabelsDisagree,
                    stacklevel=3,
                )

    def raw(self, data: bytes, name: str) -> Values:
        """The values of a mask as stored, uint8 or int32 [H, W]; `name` is for messages.

        Raises:
            DataError: not an image, or coloured where ids are expected.
        """
        if self.numbering is not None and self.numbering.packed:
            return decode_colours(data, name)
        return decode_mask(data, name)

    def classify(self, values: Values, segments: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int16]:
        """Ids of the label set for mask values of any shape: 255 for void, `UNKNOWN` for what stands for nothing."""
        table: Mapping[int, int] = self._table
        if segments is not None:
            table = {int(one): self._table.get(int(category), UNKNOWN) for one, category in segments}
            table[0] = IGNORE_INDEX
        if values.dtype == np.uint8:
            dense = np.array([table.get(value, UNKNOWN) for value in range(256)], np.int16)
            found: npt.NDArray[np.int16] = dense[values]
            return found
        keys = np.array(sorted(table), np.int64)
        ids = np.array([table[key] for key in keys.tolist()], np.int16)
        places = np.searchsorted(keys, values).clip(max=len(keys) - 1)
        known: npt.NDArray[np.int16] = np.where(keys[places] == values, ids[places], np.int16(UNKNOWN))
        return known

    def ids(self, data: bytes, name: str, image_size: Size, segments: npt.NDArray[np.int64] | None = None) -> UInt8:
        """A mask's class ids, uint8 [H, W] with 255 = ignore, checked against its image and the label set.

        Raises:
            DataError: not a mask, of another size than its image, or with a value that stands for nothing.
        """
        raw = self.raw(data, name)
        if self.numbering is None:
            return class_ids(raw, self.labels, name, image_size)
        ids = self.classify(raw, segments)
        if (ids == UNKNOWN).any():
            value = self.show(int(raw[ids == UNKNOWN].max()))
            raise DataError(
                f"{name} has the value {value}, which {self.numbering.what} does not define: "
                "write the mask again with the data set's own values"
            )
        plain = Labels(self.labels.names, self.labels.palette)
        return class_ids(ids.astype(np.uint8), plain, name, image_size)

    def show(self, value: int) -> str:
        """A mask value as people write it: a number, or a colour."""
        if self.numbering is None or not self.numbering.packed:
            return str(value)
        return f"({value & 255}, {value >> 8 & 255}, {value >> 16})"


def pack(colour: Iterable[int]) -> int:
    """R + 256 G + 65536 B."""
    red, green, blue = colour
    return red + 256 * green + 65536 * blue


def unpack(value: int) -> tuple[int, int, int]:
    """Inverse of `pack`."""
    return value & 255, value >> 8 & 255, value >> 16


def _plain(names: Iterable[str]) -> list[str]:
    """Names for comparison: the first of several synonyms, in lower case, without dashes and underscores."""
    return [name.split(",")[0].strip().lower().replace("_", " ").replace("-", " ") for name in names]
