"""Progress: steps by name, calls and images by number, a training by its share; each with the time that is left.

On a terminal it is live. Where there is none, in a log or a pipe, it is plain lines: the first when there is something
to say, then one every `EVERY` seconds, and less often the longer it takes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 5.0
"""Seconds between two plain lines."""

_SHARE = 0.05
"""Of what takes long, the seconds between two plain lines as a share of those it has taken: a day makes some 130."""

_COUNT = re.compile(r"(\d+) of (\d+)")


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], None]]:
    """Show named steps. One called "name: detail" updates the running "name", and its detail may count: "3 of 64"."""
    running, pace = "", Pace()

    def begun(step: str) -> tuple[bool, str]:
        """Whether it is another step than the one before, and the line about it."""
        nonlocal running, pace
        name = step.partition(":")[0]
        new = name != running
        if new:
            running, pace = name, Pace()
        count = _COUNT.search(step)
        return new, step if count is None else step + pace.said(int(count[1]), int(count[2]))

    if not console.is_terminal:
        lines = _Lines(console)

        def log(step: str) -> None:
            new, line = begun(step)
            lines.tell(line, at_once=new)

        yield log
        return
    with ExitStack() as stack:
        shown = None

        def show(step: str) -> None:
            nonlocal shown
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            new, line = begun(step)
            if shown is None:
                columns = (
                    SpinnerColumn(finished_text="✓"),
                    TextColumn("{task.description}", markup=False),
                    TimeElapsedColumn(),
                )
                shown = stack.enter_context(Progress(*columns, console=console))
            elif new:
                shown.update(shown.task_ids[-1], completed=1)
            if new:
                shown.add_task(line, total=1)
            shown.update(shown.task_ids[-1], description=line)

        yield show
        if shown is not None:
            shown.update(shown.task_ids[-1], completed=1)


@contextmanager
def bar(console: Console, what: str = "calls", *, speed: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show calls done of calls to do, or whatever else is counted, and with `speed` how many a second."""
    with _told(console, what, f"{what}/s" if speed else "", keep=False) as told:
        yield lambda done, total: told(done, total, f" {done} of {total}", done >= total)


@contextmanager
def share_bar(console: Console, what: str) -> Iterator[Callable[[float, str], None]]:
    """Show the share that is done of what has no steps to count, between 0 and 1, and a text."""
    with _told(console, what, "", keep=True) as told:
        yield lambda share, text: told(share, 1.0, f" {share:.1%}, {text}", False)


@contextmanager
def _told(console: Console, what: str, unit: str, *, keep: bool) -> Iterator[Callable[[float, float, str, bool], None]]:
    """Called with what is done, what there is, text for both, and whether a plain line of it must not be left out."""
    pace = Pace()
    if not console.is_terminal:
        lines = _Lines(console)
        yield lambda done, total, text, last: lines.tell(f"{what}{text}{pace.said(done, total, unit)}", at_once=last)
        return
    with ExitStack() as stack:
        shown = None

        def show(done: float, total: float, text: str, last: bool) -> None:
            nonlocal shown
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            line = f"{what}{text}{pace.said(done, total, unit)}"
            if shown is None:
                columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
                shown = stack.enter_context(Progress(*columns, console=console, transient=not keep))
                shown.add_task(line, total=total)
            shown.update(shown.task_ids[0], completed=done, total=total, description=line)

        yield show


def about(seconds: float) -> str:
    """A length of time as one says it: "about 40 s", "about 12 min", "about 3 h", "about 9 days"."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"about {max(1, round(seconds / size))} {unit}"
    return f"about {round(seconds / 86400)} days"


class Pace:
    """How fast it goes and how long it takes yet, from where it was when it was first told of and where it is now.

    What was done before the first call, by an earlier run, counts as done and not as speed.
    """

    def __init__(self) -> None:
        self._total = self._done = self._first = self._began = -1.0
        self.speed: float | None = None
        """Units a second; None while it is not known."""

    def seconds_left(self, done: float, total: float) -> float | None:
        """Told what is done of what: the seconds that the rest takes; None while that is not known."""
        now = time.monotonic()
        if total != self._total or done < self._done:  # something else is counted from here on
            self._total, self._first, self._began = total, done, now
        self._done = done
        known = done > self._first and now > self._began
        self.speed = (done - self._first) / (now - self._began) if known else None
        return None if self.speed is None else (total - done) / self.speed

    def said(self, done: float, total: float, unit: str = "") -> str:
        """The same to be put behind a line, with the speed where it is given a unit."""
        left = self.seconds_left(done, total)
        speed = f", {self.speed:.3g} {unit}" if unit and self.speed is not None else ""
        return speed + (f", {about(left)} left" if left else "")


class _Lines:
    """Plain lines in a log, so many that one sees that it goes on, and so few that they can be read."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._first: float | None = None
        self._last = 0.0
        self._line = ""

    def tell(self, line: str, *, at_once: bool = False) -> None:
        """Print the line if it is time for one, or `at_once`; never the same twice running."""
        now = time.monotonic()
        if self._first is None:
            self._first, at_once = now, True
        due = self._last + max(EVERY, _SHARE * (now - self._first))
        if line != self._line and (at_once or now >= due):
            self._line, self._last = line, now
            self._console.print(line, markup=False)
