"""The run itself: every contender called with every image, and then loaded with several callers. Reads the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from segexport import machine
from segexport.bench.busy import Meter
from segexport.bench.messages import Load
from segexport.bench.process import Check
from segexport.bench.scoring import Contender, score
from segexport.datasets import LabelledImages

WARMUP_CALLS = 3
MIN_CALLS = 20
"""Timed calls of each contender: with fewer images than this, the images go round again."""

SETTLE_SECONDS = 0.01
"""Pause before a timed call: the last contender's worker threads spin for a while after theirs."""

LOAD_SECONDS = 4.0
"""How long each contender serves several callers."""
LOAD_IMAGES = 8
"""Images that it serves, in turn: the first ones."""

Progress = Callable[[int, int], None]
"""Called with calls done and calls to do; a load counts as the calls that would take as long."""


class Run:
    """What a benchmark does with contenders that are ready, and how far it has come."""

    def __init__(
        self, contenders: Sequence[Contender], images: LabelledImages, *, progress: Progress, check: Check
    ) -> None:
        """Args: who is called, with what; who is told; what ends the run by raising, asked between calls."""
        self._contenders = contenders
        self._images = images
        self._progress = progress
        self._check = check
        self._rounds = max(len(images), MIN_CALLS)
        self._done = 0
        self._total = (WARMUP_CALLS + self._rounds) * len(contenders)
        self.images = 0
        """Different images that were shown to all."""
        self.others: float | None = None
        """Share of the machine that other programs took during the timed calls; see `segexport.bench.busy`."""

    @property
    def calls(self) -> str:
        """Timed calls made, of how many."""
        made = sum(len(contender.whole) for contender in self._contenders)
        return f"{made} of {self._rounds * len(self._contenders)}"

    def measure(self, concurrency: int, threads: int | None) -> None:
        """Warm up, time the calls, and with more than one caller the throughput."""
        self._progress(0, self._total)
        seconds = self._warm_up()
        loads = max(1, round(LOAD_SECONDS / seconds)) if concurrency > 1 else 0
        self._total += loads * len(self._contenders)
        meter = Meter([contender.process.id for contender in self._contenders])
        try:
            self._time_calls()
        finally:
            self.others = meter.share()
        if concurrency > 1:
            self._load(concurrency, threads or machine.cores(), loads)

    def _warm_up(self) -> float:
        """Seconds that a call takes, by the last round."""
        image = self._images.sample(0).image
        start = time.perf_counter()
        for _ in range(WARMUP_CALLS):
            start = time.perf_counter()
            for contender in self._contenders:
                contender.process.call(image, self._check)
                self._advance()
        return (time.perf_counter() - start) / len(self._contenders) + SETTLE_SECONDS

    def _time_calls(self) -> None:
        """Every contender on every image, and round again until there are calls enough; scores count once an image."""
        count = len(self._images)
        for index in range(self._rounds):
            sample = self._images.sample(index % count)
            shift = index % len(self._contenders)
            decisions = {}
            for contender in (*self._contenders[shift:], *self._contenders[:shift]):
                time.sleep(SETTLE_SECONDS)
                timed = contender.process.call(sample.image, self._check)
                contender.whole.append(timed.whole)
                contender.network.append(timed.network)
                contender.shown.append((sample.image.shape[0], sample.image.shape[1]))
                contender.peak_memory = timed.peak_memory
                decisions[contender.name] = timed.decision
                if len(decisions) == len(self._contenders) and index < count:
                    score(self._contenders, decisions, sample)
                    self.images = index + 1
                self._advance()

    def _load(self, callers: int, threads: int, calls: int) -> None:
        """One contender after the other serves several callers, while the others are idle."""
        shown = tuple(self._images.sample(index).image for index in range(min(LOAD_IMAGES, len(self._images))))
        for contender in self._contenders:
            load = Load(shown, callers, LOAD_SECONDS, threads, contender.batch)
            contender.throughput = contender.process.serve(load, self._check)
            self._advance(calls)

    def _advance(self, calls: int = 1) -> None:
        self._done += calls
        self._progress(self._done, self._total)
        self._check()
