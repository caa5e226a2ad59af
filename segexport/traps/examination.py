"""What was found in a checkpoint or a data set."""

from __future__ import annotations

from dataclasses import dataclass

from segexport.traps.trap import Severity, Trap


@dataclass(frozen=True)
class Examination:
    """The traps met in what was examined, errors first; `kind` is `checkpoint` or `data`."""

    name: str
    kind: str
    traps: tuple[Trap, ...]

    def count(self, severity: Severity) -> int:
        """How many traps are of one severity."""
        return sum(trap.severity == severity for trap in self.traps)

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return not self.count("error")
