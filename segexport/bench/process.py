"""The benchmark's side of a contender: starts its process, asks, and sees it off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from types import TracebackType
from typing import Any, NoReturn

from segexport import errors
from segexport.bench.interrupts import blocked
from segexport.bench.messages import Load, Timed
from segexport.errors import SegexportError
from segexport.images import UInt8

Check = Callable[[], None]
"""Called again and again while a contender is waited for; what it raises ends the waiting."""

_CHECK_SECONDS = 0.1


class ContenderProcess:
    """A running `segexport.bench.contender`; leaving the block ends it.

    A contender that was no longer waited for is of no more use than to be ended.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self._connection, theirs = Pipe()
        with blocked():  # Ctrl-C is the benchmark's to handle
            self._child = subprocess.Popen(
                [sys.executable, "-m", "segexport.bench.contender", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        theirs.close()  # or the child's death would not be seen
        self._send(request)

    @property
    def id(self) -> int:
        """The process's."""
        return self._child.pid

    def opened(self, check: Check) -> dict[str, Any]:
        """Wait until the contender is ready; facts about it.

        Raises:
            SegexportError: what it could not do, as the same kind of error.
        """
        facts: dict[str, Any] = self._receive(check)
        return facts

    def call(self, image: UInt8, check: Check) -> Timed:
        """One timed call with a uint8 [H, W, 3] RGB image."""
        self._send(image)
        answer: Timed = self._receive(check)
        return answer

    def serve(self, load: Load, check: Check) -> float:
        """Images a second with several callers at once."""
        self._send(load)
        return float(self._receive(check))

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._child.kill()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except ConnectionError:
            self._died()

    def _receive(self, check: Check) -> Any:
        while not self._connection.poll(_CHECK_SECONDS):
            check()
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._died()
        if isinstance(answer, tuple):
            kind, text = answer
            raise getattr(errors, kind, SegexportError)(text)
        return answer

    def _died(self) -> NoReturn:
        status = self._child.wait()
        raise SegexportError(f"a benchmarked engine died (exit status {status}): see its output above") from None

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        if kind is not None:
            self._child.kill()
        self._child.wait()
