"""What is made once for all workers of a run, since making it costs seconds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import segexport
from segexport.bundle import Bundle, open_bundle


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The path `name` that `make` writes, in the folder that the workers share: one makes it, the others wait.

    Nobody may change what lies there. Where `make` fails, the next that asks tries again.
    """
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path, done = folder / "shared" / name, folder / "shared" / f"{name}.done"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not done.exists():
            make(path)
            done.touch()
    return path


def built_once(factory: pytest.TempPathFactory, name: str, checkpoint: Path, **options: Any) -> Bundle:
    """`segexport.build` of a checkpoint, once for all workers."""

    def build(path: Path) -> None:
        segexport.build(checkpoint, path, **options)

    return open_bundle(made_once(factory, name, build))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
