"""Writing the records of a shard, so that whatever ends it leaves something to go on from."""

from __future__ import annotations

import os
from typing import Any

from segexport.errors import OutputError
from segexport.evaluation import records
from segexport.evaluation.folder import EvaluationFolder, Shard, open_locked
from segexport.files import write_failed


class RecordWriter:
    """Appends a shard's records, each line flushed; a context manager that locks the shard's file.

    What an interrupted writer left of a line is cut off.

    Raises:
        OutputError: another process writes this shard, or the folder cannot be written.
    """

    def __init__(self, folder: EvaluationFolder, shard: Shard) -> None:
        self._path = folder.path / shard.file
        try:
            self._file = open_locked(self._path)
        except OSError as error:
            raise write_failed(self._path, error) from error
        try:
            self.position = folder.position(shard)
            os.ftruncate(self._file, self.position.bytes)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            os.close(self._file)
            raise write_failed(self._path, error) from error
        except BaseException:
            os.close(self._file)
            raise

    def append(self, entry: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: the disk is full; what was written before stays, and the next run goes on from there.
        """
        data = records.encode(entry)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            failed = write_failed(self._path, error)
            raise OutputError(f"{failed}; what is done is kept: run the same command again to go on") from error

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
