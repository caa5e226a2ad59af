"""Energy per frame on a Jetson: tegrastats records while a bundle computes frame after frame.

Apart from the benchmark's own calls: between those it pauses, so that power during them would be too low.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from segexport.bench.tegrastats import Recording
from segexport.errors import EngineUnavailable, SegexportError
from segexport.images import UInt8
from segexport.segmenter import Segmenter

PROGRAM = "tegrastats"
INTERVAL_MS = 100
WARM_UP_SECONDS = 2.0
"""Before frames are counted: clocks rise with the load, and the power monitors average over some time."""

_PATIENCE_SECONDS = 10.0
"""For tegrastats to print a line, beyond the time asked for; and to end when asked to, then it is killed."""


@dataclass(frozen=True)
class Load:
    """Frames computed one right after the other, each from raw pixels to a class map, and how long all took."""

    frames: int
    seconds: float


@dataclass(frozen=True)
class Energy:
    """Of one frame, in millijoules: mean total power times the mean time of a frame.

    `above_idle_mj` counts only what is above the idle power before.
    """

    frame_mj: float
    above_idle_mj: float | None


class Tegrastats:
    """tegrastats, recording; leaving the block ends it, whatever happened inside."""

    def __init__(self, interval_ms: int = INTERVAL_MS) -> None:
        self._interval = interval_ms
        self._lines: list[str] = []

    def idle(self, seconds: float) -> list[str]:
        """The lines of so many seconds in which nothing is done.

        Raises:
            SegexportError: there were none, or tegrastats has ended.
        """
        start = len(self._lines)
        begun = time.perf_counter()
        time.sleep(seconds)
        while not self._spoke(start) and time.perf_counter() - begun < seconds + _PATIENCE_SECONDS:
            time.sleep(self._interval / 1000)
        return self._since(start)

    def load(self, net: Segmenter, pixels: UInt8, seconds: float) -> tuple[Load, list[str]]:
        """Compute frame after frame for so many seconds; the lines are those of that time alone.

        Args:
            net: the opened bundle.
            pixels: uint8 [H, W, 3] in the bundle's channel order.
            seconds: how long, after warming up.

        Raises:
            SegexportError: there were none, or tegrastats has ended.
        """
        _frames(net, pixels, min(WARM_UP_SECONDS, seconds))
        start = len(self._lines)
        done = _frames(net, pixels, seconds, lambda: self._spoke(start))
        return done, self._since(start)

    def _spoke(self, start: int) -> bool:
        """Whether there are new lines, or will be none any more."""
        return len(self._lines) > start or self._child.poll() is not None

    def _since(self, start: int) -> list[str]:
        found = self._lines[start:]
        if (code := self._child.poll()) is not None:
            said = self._lines[-1].strip() if self._lines else "nothing"
            raise SegexportError(f"{PROGRAM} ended by itself with code {code} (it said: {said}): run it by hand")
        if not found:
            raise SegexportError(f"{PROGRAM} printed nothing while it was recorded: run it by hand, or record longer")
        return found

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.append(line)

    def __enter__(self) -> Tegrastats:
        try:
            self._child = subprocess.Popen(
                [PROGRAM, "--interval", str(self._interval)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise EngineUnavailable(
                f"{PROGRAM} cannot be run ({error.strerror}): it belongs to Jetson Linux (sudo apt install --reinstall "
                "nvidia-l4t-tools); into a container it has to be mounted"
            ) from error
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.terminate()
        try:
            self._child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join(_PATIENCE_SECONDS)
        assert self._child.stdout is not None
        self._child.stdout.close()


def per_frame(load: Load, power: Recording, idle: Recording | None) -> Energy | None:
    """The energy of a frame; None where no total power is known."""
    if power.total_mw is None:
        return None
    seconds = load.seconds / load.frames
    before = None if idle is None else idle.total_mw
    above = None if before is None else (power.total_mw.mean - before.mean) * seconds
    return Energy(power.total_mw.mean * seconds, above)


def _frames(net: Segmenter, pixels: UInt8, seconds: float, enough: Callable[[], bool] = lambda: True) -> Load:
    """At least one frame, as many as fit, and more until there is enough; not for ever."""
    frames = 0
    start = time.perf_counter()
    while True:
        net.run(pixels)
        frames += 1
        taken = time.perf_counter() - start
        if taken >= seconds and (enough() or taken >= seconds + _PATIENCE_SECONDS):
            return Load(frames, taken)
