"""An earlier commit of this repository beside the checkout: a git worktree with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from environments import FOLDER, ROOT

_BUILT_FROM = ("segexport", "runtime/include", "setup.py", "pyproject.toml", "constraints.txt")
"""What the installed package is made of."""


class WorktreeFailed(Exception):
    """A commit is not here, or its environment could not be made; the message says why in one line."""


def commit_of(revision: str) -> str:
    """The full name of a commit.

    Raises:
        WorktreeFailed: this repository has no such commit.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode:
        raise WorktreeFailed(f"there is no commit {revision} in this repository: fetch it, or name another")
    return found.stdout.strip()


def has_changes() -> bool:
    """Whether what the checkout's package is made of differs from its commit."""
    return bool(_git("status", "--porcelain", "--", *_BUILT_FROM).stdout.strip())


def make(commit: str) -> Path:
    """Check a commit out and make its .venv by its own `scripts/env`, unless that has been done already; its folder.

    Raises:
        WorktreeFailed: the last word of git or of `scripts/env`.
    """
    folder = FOLDER / f"commit-{commit[:12]}"
    if not (folder / ".git").exists():
        FOLDER.mkdir(exist_ok=True)
        # Forced, as the repository may remember a worktree whose folder somebody has removed.
        _require(_git("worktree", "add", "--force", "--detach", str(folder), commit), "it cannot be checked out")
    # The same interpreter for both; scripts/env does nothing where everything has been made.
    variables = {**os.environ, "PYTHON": sys.executable}
    _require(_run(["bash", "scripts/env"], folder, variables), "its environment cannot be made")
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run(["git", *arguments], ROOT)


def _run(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def _require(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise WorktreeFailed(f"{what}: {lines[-1] if lines else f'exit status {done.returncode}'}")
