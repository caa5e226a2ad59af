"""One virtual environment a peer, made from `envs/NAME.txt` and kept until that file changes."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "envs"
ENVIRONMENTS = HERE / ".envs"
_MARK = "made-from"
"""Written into a finished environment: what it was made from. One without it is made again."""

OWN = "segexport"
"""The environment of the checkout itself: the Python that runs the benchmark."""


class EnvironmentFailed(Exception):
    """An environment could not be made; the message says why in one line."""


def names() -> list[str]:
    """Every environment that `envs/` describes."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def python(name: str) -> Path:
    """The interpreter of an environment that `make` made."""
    return Path(sys.executable) if name == OWN else ENVIRONMENTS / name / "bin" / "python"


def is_made(name: str) -> bool:
    """Whether the environment is there and was made from the requirements as they are now."""
    mark = ENVIRONMENTS / name / _MARK
    return name == OWN or (mark.is_file() and mark.read_text(encoding="utf-8") == _wanted(name))


def make(name: str) -> None:
    """Make the environment, unless that has been done already.

    Raises:
        EnvironmentFailed: pip's last word on it.
    """
    if is_made(name):
        return
    folder = ENVIRONMENTS / name
    if folder.exists():
        shutil.rmtree(folder)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    requirements = REQUIREMENTS / f"{name}.txt"
    pip = [str(python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch by itself and by its exact version: nothing else may choose a build of it.
    _run(name, [*pip, "--constraint", str(requirements), _torch(requirements)])
    # The file is complete, so pip has nothing to add; some peers would ask for torchvision, which no contender uses.
    _run(name, [*pip, "--no-deps", "--requirement", str(requirements)])
    (folder / _MARK).write_text(_wanted(name), encoding="utf-8")


def _torch(requirements: Path) -> str:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def _wanted(name: str) -> str:
    content = (REQUIREMENTS / f"{name}.txt").read_bytes()
    return f"{hashlib.sha256(content).hexdigest()} python {platform.python_version()}\n"


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or [f"exit status {done.returncode}"]
        raise EnvironmentFailed(f"environment {name} cannot be made: {errors[-1].removeprefix('ERROR: ')}")
