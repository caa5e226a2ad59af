"""Logits of images, from PyTorch or an engine, behind one surface."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from segexport.engines.base import Runner, in_order
from segexport.engines.pytorch import PyTorchRunner
from segexport.evaluation.upsample import Floats32
from segexport.images import UInt8
from segexport.spec import DYNAMIC

AT_ONCE = 4
"""Images given at once to a bundle that takes any number."""


class Network(Protocol):
    """What turns images into logits."""

    batch: int
    """The most images it is given at once."""

    def logits(self, images: UInt8) -> Floats32:
        """float32 [N, classes, h, w] of uint8 [N, H, W, 3] RGB; h and w are the network's own."""
        ...


class PyTorchNetwork:
    """A checkpoint; takes images of any size."""

    batch = 1  # more are no faster on a CPU, and take as much more memory

    def __init__(self, runner: PyTorchRunner) -> None:
        self._runner = runner

    def logits(self, images: UInt8) -> Floats32:
        """In the images' own size."""
        return self._runner.logits(images)


class EngineNetwork:
    """A bundle that gives logits; takes images of its contract's size."""

    def __init__(self, runner: Runner) -> None:
        self.batch = AT_ONCE if runner.contract.batch == DYNAMIC else runner.contract.batch
        self._runner = runner

    def logits(self, images: UInt8) -> Floats32:
        """A fixed batch is filled by repeating the last image."""
        count = len(images)
        contract = self._runner.contract
        if contract.batch not in (DYNAMIC, count):
            images = images[np.minimum(np.arange(contract.batch), count - 1)]
        found: Floats32 = self._runner.run(in_order(images, contract))["logits"]
        return found[:count]
