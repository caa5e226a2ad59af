"""What a command costs, its child processes included: wall time and peak memory.

Everything is counted by a small process of its own (this file, run by `measure`), which starts the command and waits
for it: the kernel's figure for the peak of a program begins with that of the process that started it, so that one has
to be smaller than whatever is measured.

- Time: from before the start of the command until it was waited for, by a monotonic clock.
- Largest process: the peak resident size of the largest single process. `os.wait4` tells it of the command and of all
  descendants that were waited for, which Linux includes; samples of VmHWM add those that nobody waited for.
- All processes: the largest sum of the resident sizes of all processes at one moment, sampled every 50 ms. Pages that
  several of them share count in each, so the memory that was really taken is less.
- Others: what all processes but these used of the machine's processors meanwhile, from /proc/stat; time that a virtual
  machine's host took away is part of it.

Descendants are found by their session, which the small process begins. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LIMIT_SECONDS = 3600.0
_SAMPLE_SECONDS = 0.05
_LAST_WORDS = 300


class CommandFailed(Exception):
    """A command did not end as it should; the message is one line that says how."""


@dataclass(frozen=True)
class Cost:
    """One command, from start to end."""

    status: int
    """As subprocess has it: negative is a signal."""
    seconds: float
    largest_bytes: int
    """Of the largest single process."""
    all_bytes: int
    """Of all processes together."""
    watched_seconds: float | None
    """How long a descendant with the watched words in its command line was there, to a tenth of a second."""
    others: float
    """Share of the machine's processors that other processes used."""
    load: float
    """The load average of the minute before."""


def measure(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    log: Path,
    watched: str = "",
    limit: float = LIMIT_SECONDS,
) -> Cost:
    """Run a command in a folder with these environment variables and nothing on its standard input.

    Args:
        command: program and arguments.
        folder: to run in.
        variables: all of its environment variables.
        log: gets what it says on standard error; what it prints is dropped.
        watched: words in the command line of a descendant whose life is timed, too.
        limit: seconds after which it is ended, with all of its descendants.

    Raises:
        CommandFailed: its exit status is not 0, with its last line on standard error; or it took too long.
    """
    request = json.dumps({"command": list(command), "folder": str(folder), "log": str(log), "watched": watched})
    # Isolated and without site-packages: small, and no business of the environment variables.
    counting = [sys.executable, "-I", "-S", __file__]
    with subprocess.Popen(
        counting, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            answer, _ = child.communicate(request, limit)
        except BaseException as error:  # Ctrl-C above all
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"no end within {limit:.0f} s") from None
            raise
    if child.returncode:
        raise CommandFailed(f"{command[0]} cannot be started")
    cost = Cost(**json.loads(answer))
    if cost.status:
        how = f"signal {-cost.status}" if cost.status < 0 else f"exit status {cost.status}"
        raise CommandFailed(f"{how}: {_last_line(log)}")
    return cost


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:_LAST_WORDS] if lines else "it said nothing"


class _Watch(threading.Thread):
    """Samples the other processes of this process's session until it is told to stop."""

    def __init__(self, watched: str) -> None:
        super().__init__(daemon=True)
        self.largest = self.all = 0
        self.first: float | None = None
        self.last = 0.0
        self._watched = watched.encode()
        self._foreign = {str(os.getpid())}
        self._session = os.getsid(0)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            found = [_resident(pid) for pid in self._members()]
            self.largest = max([self.largest, *(peak for _, peak in found)])
            self.all = max(self.all, sum(now for now, _ in found))

    def stop(self) -> None:
        self._over.set()
        self.join()

    @property
    def watched_seconds(self) -> float | None:
        return None if self.first is None else self.last - self.first

    def _members(self) -> list[str]:
        listed = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - a third of the time
        self._foreign &= listed
        ours = [pid for pid in listed - self._foreign if self._is_ours(pid)]
        if self._watched and any(self._watched in _content(f"/proc/{pid}/cmdline") for pid in ours):
            self.last = time.monotonic()
            self.first = self.first or self.last
        return ours

    def _is_ours(self, pid: str) -> bool:
        try:
            ours = os.getsid(int(pid)) == self._session
        except ProcessLookupError:
            return False
        if not ours:  # and never will be, so it is asked once
            self._foreign.add(pid)
        return ours


def _resident(pid: str) -> tuple[int, int]:
    """Resident size and its peak in bytes; nothing of a process that has ended meanwhile."""
    found = {b"VmRSS": 0, b"VmHWM": 0}
    for line in _content(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(b":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    return found[b"VmRSS"], found[b"VmHWM"]


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _processors() -> tuple[float, float, float]:
    """Seconds of the machine's processors: busy ones, all, and this process's own with those it has waited for."""
    ticks = [int(word) for word in _content("/proc/stat").split(b"\n", 1)[0].split()[1:9]]
    everything, idle = sum(ticks), ticks[3] + ticks[4]
    rate = os.sysconf("SC_CLK_TCK")
    return (everything - idle) / rate, everything / rate, sum(os.times()[:4])


def _counted(command: Sequence[str], folder: str, log: str, watched: str) -> Cost:
    load = os.getloadavg()[0]
    watch = _Watch(watched)
    watch.start()
    before = _processors()
    with Path(log).open("wb") as said:
        start = time.monotonic()
        child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    watch.stop()
    busy, passed, own = (now - then for now, then in zip(_processors(), before, strict=True))
    largest = max(watch.largest, usage.ru_maxrss * 1024)
    return Cost(
        status=child.returncode,
        seconds=seconds,
        largest_bytes=largest,
        all_bytes=max(watch.all, largest),
        watched_seconds=watch.watched_seconds,
        others=max(0.0, busy - own) / passed if passed else 0.0,
        load=load,
    )


if __name__ == "__main__":
    json.dump(asdict(_counted(**json.load(sys.stdin))), sys.stdout)
