"""What the benchmark and its contenders say to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segexport.images import UInt8


@dataclass(frozen=True)
class Timed:
    """One call: seconds of the whole and of the network alone, and the class map [H, W] (or best classes [k]).

    `peak_memory` is the contender's peak resident size so far, in bytes.
    """

    whole: float
    network: float
    decision: npt.NDArray[np.generic]
    peak_memory: int


@dataclass(frozen=True)
class Load:
    """Asks for images a second with so many callers at once, measured for so many seconds.

    `images` are uint8 [H, W, 3] RGB, `threads` the CPU threads of all callers together, `batch` the images of a call.
    """

    images: tuple[UInt8, ...]
    callers: int
    seconds: float
    threads: int
    batch: int
