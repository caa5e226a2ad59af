"""What a data set holds, on the terminal: a few lines, and a table of class shares."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.table import Table

from segexport.datasets.summary import PROBLEMS, DataSummary

_SIZES = 4
_OUTSIDE = 8


def lines(found: DataSummary) -> Iterator[str]:
    """Number of images, sizes, what is not labelled, and what is wrong, a line each."""
    yield f"{found.name}: {_images(found.images)}{_sampled(found)}"
    shown = ", ".join(f"{one.height}x{one.width} ({one.images})" for one in found.sizes[:_SIZES])
    rest = len(found.sizes) - _SIZES
    if shown:
        yield f"sizes: {shown}" + (f" and {rest} more sizes" if rest > 0 else "")
    if any(one.pixels for one in found.classes) or found.unlabelled_share:
        yield f"unlabelled: {found.unlabelled_share:.1%} of the pixels"
    if found.absent:
        yield f"in no mask: {', '.join(found.absent)}"
    if found.outside:
        values = ", ".join(one.value for one in found.outside[:_OUTSIDE])
        more = f" and {len(found.outside) - _OUTSIDE} more" if len(found.outside) > _OUTSIDE else ""
        yield (
            f"outside the label set: {found.outside_share:.1%} of the pixels, values {values}{more} "
            f"(such as in {found.outside[0].example})"
        )
    for one in found.problems:
        yield f"{_images(one.images)} {_agreeing(PROBLEMS[one.what], one.images)}, such as: {one.examples[0]}"


def table(found: DataSummary) -> Table:
    """Each class's share of the labelled pixels and the images it is in, in the order of the ids."""
    drawn = Table(box=SIMPLE, title="classes", title_justify="left")
    drawn.add_column("id", justify="right")
    drawn.add_column("class")
    drawn.add_column("pixels %", justify="right")
    drawn.add_column("images", justify="right")
    for index, one in enumerate(found.classes):
        drawn.add_row(str(index), one.name, f"{100 * one.share:.2f}", str(one.images))
    return drawn


def _sampled(found: DataSummary) -> str:
    if found.examined == found.images:
        return ""
    return f", of which {found.examined} were looked at (drawn with seed {found.seed})"


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _agreeing(words: str, count: int) -> str:
    """A plural's words for one image: has, shows, is."""
    if count != 1:
        return words
    singular = {"have": "has", "show": "shows", "are": "is"}
    return " ".join(singular.get(word, word) for word in words.split())
