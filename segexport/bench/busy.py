"""How busy the rest of the machine was meanwhile: the cores' busy time (/proc/stat) less what our processes took."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from segexport import machine

BUSY_SHARE = 0.1
"""From here up the machine counts as busy: others took so much of all the cores' time."""

_STAT = Path("/proc/stat")
_BUSY = slice(0, 3), slice(5, 8)
"""Of a core's line: user, nice and system; irq, softirq and steal, which a hypervisor gave to others (proc(5))."""
_LEAST_SECONDS = 1.0
"""The kernel counts busy time in ticks, of which less than this has too few."""


class Meter:
    """Counts from where it is made; `share` says what others took since."""

    def __init__(self, processes: Sequence[int]) -> None:
        """Args: ids of the processes that are ours, beside this one, all of which still run when `share` is asked."""
        self._ours = (os.getpid(), *processes)
        self._start = time.monotonic()
        self._before = self._others()

    def share(self) -> float | None:
        """Share of the time of this process's cores that others took, 0 to 1; None without /proc, or too soon to tell.

        0.5 on two cores is one of them.
        """
        seconds, now = time.monotonic() - self._start, self._others()
        if self._before is None or now is None or seconds < _LEAST_SECONDS:
            return None
        return min(1.0, max(0.0, (now - self._before) / (seconds * machine.cores())))

    def _others(self) -> float | None:
        """Seconds that others took since the machine started; only differences mean anything. None where unknown."""
        if not _STAT.exists():
            return None
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = (line.split() for line in _STAT.read_text(encoding="ascii").splitlines())
        cores = (list(map(int, fields[1:])) for fields in lines if fields and fields[0] in names)
        busy = sum(sum(core[part]) for core in cores for part in _BUSY)
        try:
            ours = sum(map(_ticks, self._ours))
        except OSError:  # one has died
            return None
        return (busy - ours) / os.sysconf("SC_CLK_TCK")


def doubt(share: float | None) -> str:
    """What makes figures doubtful where others took that share of the machine; an empty text where nothing does."""
    if share is None or share < BUSY_SHARE:
        return ""
    return f"the machine was busy, other programs took {share:.0%} of its cores' time"


def _ticks(process: int) -> int:
    """User and system time of all of a process's threads, and of none of its children."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
