"""The folder of an evaluation: its settings, and the records of each shard. Shards may be written at the same time.

evaluation.json            the settings: whoever comes later must have the same
records-1-of-2.jsonl       images 0, 2, 4 ...; a line for each image and condition, in order
records-2-of-2.jsonl       images 1, 3, 5 ...
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport.errors import DataError, OutputError
from segexport.evaluation import records
from segexport.evaluation.records import Record
from segexport.files import require_absent, write_failed, write_json

MARKER = "evaluation.json"

_NOT_COMPARED = ("path", "name", "python")
"""Settings that change no figure."""


@dataclass(frozen=True)
class Shard:
    """The `number`-th (from 1) of `of` shards: images number-1, number-1+of, ..."""

    number: int
    of: int

    def indices(self, images: int) -> range:
        """Its images, of so many."""
        return range(self.number - 1, images, self.of)

    @property
    def file(self) -> str:
        """Name of its records."""
        return f"records-{self.number}-of-{self.of}.jsonl"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Position:
    """How far a shard is: the next image is the `ordinal`-th of its own, in the `condition`-th condition."""

    ordinal: int
    condition: int
    bytes: int
    """Length of the whole lines; what stands behind them was torn off."""


@dataclass(frozen=True)
class Image:
    """An image's records, by number of condition; none of an image that was bad, and then why."""

    index: int
    records: dict[int, Record]
    bad: str | None = None


@dataclass(frozen=True)
class Digest:
    """What an image that is done was, as `records.digest` says; None of one that was bad."""

    index: int
    sha256: str | None


@dataclass(frozen=True)
class EvaluationFolder:
    """A folder whose settings are known to be those asked for."""

    path: Path
    settings: dict[str, Any]

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All of them."""
        of = self.settings["shards"]
        return tuple(Shard(number, of) for number in range(1, of + 1))

    @property
    def images(self) -> int:
        """Images there are, bad ones included."""
        return int(self.settings["data"]["images"])

    @property
    def conditions(self) -> int:
        """Conditions in which each is seen."""
        return len(self.settings["conditions"])

    def position(self, shard: Shard) -> Position:
        """How far a shard is.

        Raises:
            DataError: a line that is damaged, and not the last.
        """
        indices = shard.indices(self.images)
        ordinal = condition = length = 0
        torn: int | None = None
        for number, raw in enumerate(self._lines(shard), 1):
            if torn is not None:
                raise DataError(
                    f"{self.path / shard.file} is damaged in line {torn}: delete that file, and its images are "
                    "evaluated again"
                )
            found = records.head(raw)
            if found is None or ordinal >= len(indices) or found[:2] != (indices[ordinal], condition):
                torn = number
                continue
            length += len(raw)
            condition += 1
            if found[2] or condition == self.conditions:
                ordinal, condition = ordinal + 1, 0
        return Position(ordinal, condition, length)

    def read(self, wanted: Collection[int]) -> Iterator[Image]:
        """Every image that is done, in order of index, with its records of the conditions `wanted`; one at a time.

        Raises:
            DataError: a damaged line.
        """
        streams = [self._images(shard, frozenset(wanted)) for shard in self.shards]
        try:
            for index in range(self.images):
                image = next(streams[index % len(streams)], None)
                if image is not None:
                    yield image
        finally:
            for stream in streams:
                stream.close()

    def digests(self) -> Iterator[Digest]:
        """Every image of which there is a record, with what it was then."""
        for shard in self.shards:
            for raw in self._lines(shard):
                found = records.head(raw)
                if found and (found[2] or found[1] == 0):
                    yield Digest(found[0], None if found[2] else str(json.loads(raw)["sha256"]))

    def _images(self, shard: Shard, wanted: frozenset[int]) -> Generator[Image, None, None]:
        indices = shard.indices(self.images)
        whole = self.position(shard)
        lines = self._lines(shard)
        for ordinal in range(whole.ordinal):
            found: dict[int, Record] = {}
            bad = None
            for condition in range(self.conditions):
                raw = next(lines)
                if condition in wanted or b'"bad":' in raw[:80]:
                    try:
                        if (known := records.head(raw)) and known[2]:
                            bad = str(json.loads(raw)["bad"])
                            break
                        found[condition] = records.decode(raw)
                    except (ValueError, KeyError, TypeError, IndexError) as error:
                        raise DataError(
                            f"{self.path / shard.file} is damaged at image {indices[ordinal]} ({error}): delete that "
                            "file, and its images are evaluated again"
                        ) from error
            yield Image(indices[ordinal], {} if bad is not None else found, bad)

    def _lines(self, shard: Shard) -> Iterator[bytes]:
        path = self.path / shard.file
        try:
            with path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error


def open_folder(path: Path, settings: dict[str, Any], *, overwrite: bool = False) -> tuple[EvaluationFolder, bool]:
    """The folder of these settings, made where there is none; and whether its data's hash is an other one.

    Raises:
        OutputError: it holds an evaluation with other settings, or something else, or cannot be written.
    """
    if overwrite:
        _remove(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{path} exists and is a file: pass another --out") from None
    except OSError as error:
        raise write_failed(path, error) from error
    with _locked(path):
        if not (path / MARKER).exists():
            # A process that was killed may have left the beginnings of a marker.
            if any(not found.name.startswith(f".{MARKER}.") for found in path.iterdir()):
                raise OutputError(f"{path} exists and is no folder of an evaluation: pass another --out")
            _save(path, settings)
            return EvaluationFolder(path, settings), False
        kept = _settings(path)
        other_data = kept["data"].get("sha256") != settings["data"]["sha256"]
        differences = list(_differences(kept, settings))
        if differences:
            raise OutputError(
                f"{path} holds an evaluation with other settings ({'; '.join(differences[:4])}): pass another --out, "
                "or --overwrite to begin anew"
            )
        return EvaluationFolder(path, settings), other_data


def shards_of(path: Path) -> int | None:
    """Of how many shards the evaluation in a folder is; None where there is none."""
    if not (path / MARKER).is_file():
        return None
    return int(_settings(path)["shards"])


def update_data(folder: EvaluationFolder) -> None:
    """Record the data's new hash, when what is done has been found unchanged."""
    with _locked(folder.path):
        _save(folder.path, folder.settings)


def _settings(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads((path / MARKER).read_text(encoding="utf-8"))
        if not isinstance(kept["shards"], int) or not isinstance(kept["data"], dict):
            raise TypeError("not the settings of an evaluation")
    except OSError as error:
        raise OutputError(f"{path / MARKER} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path / MARKER} is damaged ({error}): pass another --out, or --overwrite to begin anew"
        ) from error
    return dict(kept)


def _save(path: Path, settings: dict[str, Any]) -> None:
    write_json(path / MARKER, settings)


def _remove(path: Path) -> None:
    require_absent(path, True, MARKER)
    if not path.exists():
        return
    try:
        for file in path.glob("records-*.jsonl"):
            os.close(open_locked(file))
        shutil.rmtree(path)
    except OSError as error:
        raise write_failed(path, error) from error


def _differences(kept: Any, asked: Any, name: str = "") -> Iterator[str]:
    """What two settings differ in, in words; the data's hash is judged apart."""
    if isinstance(kept, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*kept, *asked]):
            if key not in _NOT_COMPARED and (name, key) != ("data", "sha256"):
                yield from _differences(kept.get(key), asked.get(key), f"{name} {key}".strip())
    elif isinstance(kept, list) and isinstance(asked, list) and len(kept) == len(asked):
        for number, (one, other) in enumerate(zip(kept, asked, strict=True), 1):
            yield from _differences(one, other, f"{name} {number}")
    elif kept != asked:
        yield f"{name}: {_short(kept)} there, {_short(asked)} now"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return str(len(value))
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def open_locked(path: Path) -> int:
    """A file's descriptor, to read and write, which is this process's alone until it is closed.

    Raises:
        OutputError: another process has it.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        import fcntl
    except ImportError:  # Windows: nothing guards against two processes on one shard
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise OutputError(f"{path} is being written by another process: wait until it has ended") from None
        raise
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for the folder's settings to be this process's alone."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
