"""The command line's answer, as the fixture `run_cli` gives it, and what a refusal leaves behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


RunCli = Callable[..., Outcome]


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every path below, hidden ones too, with its content (None for folders)."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def assert_refused(outcome: Outcome, complaint: str) -> None:
    """One line of error, at the end; progress may stand before it."""
    lines = outcome.err.strip().splitlines()
    assert outcome.code == 2, outcome
    assert re.search(complaint, lines[-1]), lines[-1]
    assert [line.startswith("error: ") for line in lines].index(True) == len(lines) - 1
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
