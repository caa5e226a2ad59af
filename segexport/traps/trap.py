"""One known trap, found: what doctor says of a checkpoint or a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Trap:
    """A known way to lose accuracy or a run, and that it was met.

    `name` is stable and in kebab-case, such as `labels-from-one`. An `error` stops training or makes its result worth
    nothing; a `warning` may be meant.
    """

    name: str
    severity: Severity
    where: str
    """File, folder or field it was met in."""
    detail: str
    """What was found there, with figures."""
    why: str
    """What comes of it."""
    fix: str
    """What to do, in words."""
    code: str = ""
    """The fix as Python to paste, or nothing where it cannot be code."""
