"""The benchmark's side of a contender: starts its process, asks, and sees it off."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import Pipe
from types import TracebackType
from typing import Any

from segexport import errors
from segexport.bench.result import Timed
from segexport.errors import SegexportError
from segexport.images import UInt8


class ContenderProcess:
    """A running `segexport.bench.contender`; leaving the block ends it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._connection, theirs = Pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "segexport.bench.contender", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()  # or the child's death would not be seen
        self._connection.send(request)

    def opened(self) -> dict[str, Any]:
        """Wait until the contender is ready; facts about it.

        Raises:
            SegexportError: what it could not do, as the same kind of error.
        """
        facts: dict[str, Any] = self._receive()
        return facts

    def call(self, image: UInt8) -> Timed:
        """One timed call with a uint8 [H, W, 3] RGB image."""
        self._connection.send(image)
        answer: Timed = self._receive()
        return answer

    def stop(self) -> int:
        """End the process; its peak memory in bytes."""
        self._connection.send(None)
        return int(self._receive())

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            status = self._child.wait()
            raise SegexportError(f"a benchmarked engine died (exit status {status}): see its output above") from None
        if isinstance(answer, tuple):
            kind, text = answer
            raise getattr(errors, kind, SegexportError)(text)
        return answer

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        if kind is not None:
            self._child.kill()
        self._child.wait()
