"""Traps between a data set's classes and a checkpoint's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from segexport.datasets.numbering import LabelsDisagree, Masks, Numbering
from segexport.errors import DataError
from segexport.spec import Labels
from segexport.traps.trap import Trap


def no_class_names(path: Path, error: str) -> Trap:
    """Nothing names the classes."""
    return Trap(
        "no-class-names",
        "error",
        str(path),
        error,
        "a model is trained for named classes, as many as the masks have ids",
        "write classes.txt beside the data: one name a line, in the order of the ids",
        code=f"from pathlib import Path\nPath({str(path / 'classes.txt')!r}).write_text('first\\nsecond\\n')",
    )


def other_count(path: Path, labels: Labels, named: Labels) -> Iterator[Trap]:
    """A label set of another length than the data's own."""
    ours, theirs = len(labels), len(named)
    if ours == theirs:
        return
    detail = f"the label set has {ours} classes, the data {theirs}"
    if abs(ours - theirs) == 1:
        fix = (
            "one side counts what is unlabelled as a class: leave that name out of the classes and set "
            "do_reduce_labels where masks have it as 0, or train a head of one class more"
        )
    else:
        fix = "pass the data the checkpoint was trained on, or train a new head for these classes (segexport finetune)"
    yield Trap(
        "head-does-not-fit",
        "error",
        str(path),
        detail,
        "a head gives scores for its own classes; others stop the loss or are scored as something else",
        fix,
        code=reduce_code() if theirs == ours + 1 else "",
    )


def other_classes(path: Path, labels: Labels, own: Numbering) -> Iterator[Trap]:
    """A checkpoint's label set that says otherwise than the layout."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LabelsDisagree)
        try:
            Masks(labels, own, str(path))
        except DataError:
            return  # `other_count` says so
    if any(issubclass(one.category, LabelsDisagree) for one in caught):
        yield Trap(
            "labels-disagree",
            "warning",
            str(path),
            f"do_reduce_labels is {labels.reduce} in the checkpoint, but {own.what} counts its ids from "
            f"{int(own.from_one)}",
            "segexport reads the layout's way; the checkpoint's own processor would shift every id by one",
            f"set do_reduce_labels to {own.from_one} in preprocessor_config.json",
            code=reduce_code(own.from_one),
        )
    same = {name.strip().lower() for name in labels.names} & {name.strip().lower() for name in own.names}
    if len(labels) == len(own.names) and 2 * len(same) < len(own.names):
        yield Trap(
            "class-names-differ",
            "warning",
            str(path),
            f"{len(same)} of {len(own.names)} class names are the same: the first is {labels.names[0]} in the label "
            f"set and {own.names[0]} in the data",
            "there are as many on both sides, so that ids are matched by their order",
            "check that the order is the same, and name the checkpoint's classes as the data do",
        )


def reduce_code(value: bool = True) -> str:
    """Code that sets a checkpoint's `do_reduce_labels`."""
    return (
        "from transformers import SegformerImageProcessor\n"
        f'processor = SegformerImageProcessor.from_pretrained("CHECKPOINT", do_reduce_labels={value})\n'
        'processor.save_pretrained("CHECKPOINT")'
    )
