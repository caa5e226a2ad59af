"""How much of a training is done, and the learning rate that follows from it."""

from __future__ import annotations

import time

from segexport.finetuning.recipe import Recipe


class Schedule:
    """The share of a training that is done, by its steps or by the clock. Can be handed to other processes.

    Nothing is measured with the clock: it ends a training of `--minutes`, and decays its rate.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._seconds = None if recipe.minutes is None else 60 * recipe.minutes
        self._before = 0.0
        self._start = time.monotonic()
        self._decided = -1, False

    def begin(self, before: float = 0.0) -> None:
        """Start the clock, of a training of which the share `before` was done earlier."""
        self._before, self._start = before, time.monotonic()

    def share(self, step: int) -> float:
        """What is done before `step`, counted from 0: between 0 and 1."""
        if self._seconds is None:
            return min(1.0, step / self._recipe.steps)
        return min(1.0, self._before + (time.monotonic() - self._start) / self._seconds)

    def rate(self, step: int) -> float:
        """Learning rate of `step` as a share of its peak: a linear warm-up, then a polynomial down to 0."""
        share = self.share(step)
        rising = 1.0
        if share < self._recipe.warm_up:
            # The step itself counts: a first step at rate 0 would be lost.
            rising = min(1.0, (share + 1 / self._recipe.steps) / self._recipe.warm_up)
        return rising * float((1 - share) ** self._recipe.power)

    def coarse(self, step: int) -> bool:
        """Whether `step` is one of those at half the resolution: decided once, as the clock runs on within a batch."""
        if self._decided[0] != step:
            self._decided = step, self.share(step) < self._recipe.coarse
        return self._decided[1]
