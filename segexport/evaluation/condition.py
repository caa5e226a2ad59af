"""What is done to an image before a network sees it: nothing, or a corruption of some severity."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from segexport.errors import ContractError
from segexport.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from segexport.images import UInt8


@dataclass(frozen=True)
class Condition:
    """A corruption and its severity, 1 to 5; the image as it is (`CLEAN`) without one."""

    corruption: str | None = None
    severity: int = 0

    def __str__(self) -> str:
        return "clean" if self.corruption is None else f"{self.corruption} {self.severity}"

    def apply(self, image: UInt8, seed: int, index: int) -> UInt8:
        """The image, uint8 [H, W, 3], as it is seen; chance depends on `seed` and the image's `index` alone."""
        if self.corruption is None:
            return image
        own = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        return corrupt(image, self.corruption, self.severity, own)


CLEAN = Condition()


def conditions_of(corruptions: str | None, severities: str | None = None) -> tuple[Condition, ...]:
    """Every condition of an evaluation: clean first, then each corruption with rising severity.

    Args:
        corruptions: `all`, or names with commas between them; None for clean images alone.
        severities: `1..5`, or numbers with commas between them; all five if None.

    Raises:
        ContractError: an unknown corruption, a severity outside 1 to 5, or one without a corruption.
    """
    if corruptions is None:
        if severities is not None:
            raise ContractError("--severity is that of --corruptions: pass --corruptions all, or names")
        return (CLEAN,)
    names = _names(corruptions)
    levels = SEVERITIES if severities is None else _severities(severities)
    return (CLEAN, *(Condition(name, level) for name in names for level in levels))


def _names(text: str) -> tuple[str, ...]:
    if text.strip() == "all":
        return CORRUPTIONS
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = next((name for name in names if name not in CORRUPTIONS), None)
    if unknown is not None:
        raise ContractError(f"corruption '{unknown}' is unknown: pass 'all' or any of {', '.join(CORRUPTIONS)}")
    return names


def _severities(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*([1-5])(?:\.\.([1-5]))?\s*", part)
        if not ends:
            raise ContractError(f"severity '{text}' cannot be read: pass 1 to 5, such as 3, 1,3,5 or 1..5")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        found.update(range(first, last + 1))
    if not found:
        raise ContractError(f"severity '{text}' names none: the lower number comes first, as in 1..5")
    return tuple(sorted(found))
