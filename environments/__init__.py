"""Pinned environments below `.envs/`, for what needs other packages, another Python or another processor than `.venv`.

The benchmarks run their peers in them, and the tests marked `environment` run there. NAME.txt lists every package of
environment NAME with its exact version; `aarch64` is a system of another processor, which scripts/aarch64 makes.
A tool of the checkout, not part of the installed package.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent
FOLDER = ROOT / ".envs"
"""Where environments are, each in a folder of its name."""

OWN = "segexport"
"""The environment of the checkout itself: the Python that runs this."""

_SYSTEMS = {"aarch64": ROOT / "scripts" / "aarch64"}
"""Made and entered by a script of their own: `SCRIPT setup`, which keeps what is there, and `SCRIPT run COMMAND`."""

_PYTHONS = {"oldest": "3.10", "python-3.10": "3.10"}
"""Environments of another Python than the one that runs this."""

_MARK = "made-from"
"""Written into a finished environment: what it was made from. One without it is made again."""

_SOURCES = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "NOTICE",
    "segexport",
    "runtime/include",
)
"""What the package is built from."""


class EnvironmentFailed(Exception):
    """An environment could not be made; the message says why in one line."""


class EnvironmentAbsent(EnvironmentFailed):
    """This machine has not what the environment needs; the message says what that is."""


def names() -> list[str]:
    """Every environment there is."""
    return sorted([*(path.stem for path in REQUIREMENTS.glob("*.txt")), *_SYSTEMS])


def requirements(name: str) -> list[str]:
    """Every package of an environment, as `name==version`; a line `-r FILE` stands for those of that file."""
    return _read(REQUIREMENTS / f"{name}.txt")


def command(name: str, program: str, *arguments: object) -> list[str]:
    """The command that runs a program of an environment that `make` made."""
    start = [str(_SYSTEMS[name]), "run", program] if name in _SYSTEMS else [str(python(name).parent / program)]
    return [*start, *map(str, arguments)]


def python(name: str) -> Path:
    """The interpreter of an environment that `make` made; of one for this processor."""
    return Path(sys.executable) if name == OWN else FOLDER / name / "bin" / "python"


def is_made(name: str) -> bool:
    """Whether the environment is there and was made from the requirements as they are now."""
    mark = FOLDER / name / _MARK
    return name == OWN or (mark.is_file() and mark.read_text(encoding="utf-8") == _wanted(name))


def make(name: str) -> None:
    """Make the environment, unless that has been done already.

    Raises:
        EnvironmentFailed: there is none of this name, or the last word of pip or of the system's script.
        EnvironmentAbsent: the machine has not its Python, or cannot hold its system.
    """
    if name in _SYSTEMS:
        _run(name, [str(_SYSTEMS[name]), "setup"])
        return
    if name == OWN:
        return
    if name not in names():
        raise EnvironmentFailed(f"there is no environment {name}: choose from {', '.join(names())}")
    if is_made(name):
        return
    interpreter = _interpreter(name)
    folder = FOLDER / name
    if folder.exists():
        shutil.rmtree(folder)
    _run(name, [interpreter, "-m", "venv", str(folder)])
    listed = REQUIREMENTS / f"{name}.txt"
    # torch by itself and by its exact version: nothing else may choose a build of it.
    for torch in (line for line in requirements(name) if line.startswith("torch==")):
        _run(name, [*_pip(name), "install", "--quiet", "--constraint", str(listed), torch])
    # The file is complete, so pip has nothing to add; some peers would ask for torchvision, which no contender uses.
    _run(name, [*_pip(name), "install", "--quiet", "--no-deps", "--requirement", str(listed)])
    (folder / _MARK).write_text(_wanted(name), encoding="utf-8")


def install_checkout(name: str) -> None:
    """Install segexport as it is in the checkout now into an environment that `make` made; a system has it already.

    Raises:
        EnvironmentFailed: pip's last word, also where a package of the environment is not what segexport asks for.
    """
    if name in _SYSTEMS:
        return
    # From a copy, so that nobody who edits the sources meanwhile is disturbed, or disturbs.
    with tempfile.TemporaryDirectory(prefix="segexport-sources-") as temporary:
        for source in _SOURCES:
            here, there = ROOT / source, Path(temporary) / source
            there.parent.mkdir(parents=True, exist_ok=True)
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(here, there)
        _run(name, [*_pip(name), "install", "--quiet", "--no-deps", "--force-reinstall", temporary])
    _run(name, [*_pip(name), "check"])


def _pip(name: str) -> list[str]:
    return [str(python(name)), "-m", "pip", "--disable-pip-version-check"]


def _interpreter(name: str) -> str:
    version = _PYTHONS.get(name)
    if version is None:
        return sys.executable
    program = f"python{version}"
    # Started, since version managers put programs on the PATH that only say what is not there.
    if shutil.which(program) is None or subprocess.run([program, "-V"], capture_output=True, check=False).returncode:
        raise EnvironmentAbsent(f"environment {name} needs Python {version}: install it, and put {program} on the PATH")
    return program


def _read(file: Path) -> list[str]:
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found += _read(file.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def _wanted(name: str) -> str:
    """What a finished environment was made from: its packages, its Python, and the folder that its programs name."""
    packages = hashlib.sha256("\n".join(requirements(name)).encode()).hexdigest()
    return f"{packages} python {_PYTHONS.get(name, platform.python_version())} in {FOLDER / name}\n"


def _run(name: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        errors = [line[len("error:") :].strip() for line in lines if line.lower().startswith("error:")]
        why = (errors or lines or [f"exit status {done.returncode}"])[-1]
        kind = EnvironmentAbsent if name in _SYSTEMS and done.returncode == 2 else EnvironmentFailed
        raise kind(f"environment {name} cannot be made: {why}")
