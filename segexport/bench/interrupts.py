"""Ctrl-C during a benchmark: noticed between calls, so that what has been measured stays whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Inside the block, Ctrl-C ends the run at the next `check`; a second one does so wherever the program is.

    Python's own handler alone is replaced, and in the main thread alone: a program that handles Ctrl-C itself goes on
    doing so.
    """

    def __init__(self) -> None:
        self._asked = False
        self.twice = False
        """Whether there was a second one, after which nothing is whole."""
        self._before: Any = None

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C was pressed."""
        if self._asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self.twice = True
            raise KeyboardInterrupt
        self._asked = True

    def __enter__(self) -> Interrupts:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


@contextmanager
def blocked() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and never reaches a process that is started in it.

    A terminal sends Ctrl-C to all processes of a command; a blocked signal stays blocked in a started program.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
