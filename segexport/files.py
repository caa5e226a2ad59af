"""Writing so that nothing half-written ever stands where something whole stood."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segexport.errors import OutputError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT_WRITE = _NO_ROOM | {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_failed(target: Path, error: OSError) -> OutputError:
    """The error to raise when writing `target` failed, with the remedy for the commonest causes."""
    if error.errno in _NO_ROOM:
        return OutputError(f"no room to write {target} ({error.strerror}): free some space or write elsewhere")
    return OutputError(f"cannot write {target}: {error.strerror or error}")


def require_absent(target: Path, overwrite: bool, marker: str = "segexport.json") -> None:
    """Refuse an output that exists, before any work is done for it.

    Args:
        target: the folder to be.
        overwrite: whether one that stands there may be replaced.
        marker: the file that tells a folder of ours from others; a bundle's unless told.

    Raises:
        OutputError: `target` exists and `overwrite` is off, or is no folder of ours to replace.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not overwrite:
        raise OutputError(f"{target} exists: pass --overwrite to replace it, or another place with --out (-o)")
    if target.is_symlink() or not target.is_dir():
        raise OutputError(
            f"{target} exists and is a file or a link, so --overwrite leaves it alone: pass another --out"
        )
    # Replacing a folder deletes it, so --overwrite takes only what segexport itself can have written.
    if any(target.iterdir()) and not (target / marker).exists():
        what = "bundle" if marker == "segexport.json" else f"folder with a {marker}"
        raise OutputError(f"{target} exists and is no {what}, so --overwrite leaves it alone: pass another --out")


def require_new_file(target: Path, overwrite: bool) -> None:
    """Refuse a file that exists, before any work is done for it.

    Raises:
        OutputError: `target` exists and `overwrite` is off, or is a folder.
    """
    if target.is_dir():
        raise OutputError(f"{target} is a folder: pass a file")
    if target.is_file() and not overwrite:
        raise OutputError(f"{target} exists: pass --overwrite to replace it, or another --out")


@contextmanager
def new_folder(target: Path, *, overwrite: bool = False, marker: str = "segexport.json") -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends without an error.

    Raises:
        OutputError: `target` exists and `overwrite` is off, or the disk is full.
    """
    require_absent(target, overwrite, marker)
    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise write_failed(target, error) from error
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        _replace_folder(partial, target)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:  # not about this folder: what else the block did
            raise
        raise write_failed(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_folder(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = new.with_name(new.name.replace(".partial-", ".old-"))
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def write_file(target: Path, data: bytes) -> None:
    """Write `data` to `target` in one step: beside it, then renamed. A link stays, and what it names is replaced.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    if target.exists() and not target.is_file():  # a device such as /dev/stdout: nothing to rename over
        try:
            target.write_bytes(data)
        except OSError as error:
            raise write_failed(target, error) from error
        return
    partial = None
    try:
        # Renaming over /dev/stdout would replace the system's own link when output goes to a file.
        final = target.resolve()
        final.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)
        partial = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        partial.chmod(0o666 & ~_umask())
        partial.replace(final)
    except OSError as error:
        raise write_failed(target, error) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_json(target: Path, value: Any) -> None:
    """Write plain values as indented JSON, in one step, as `write_file` does.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
        ValueError: a number is NaN or infinite, for which JSON has no word.
    """
    write_file(target, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
