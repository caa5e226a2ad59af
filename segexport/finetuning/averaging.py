"""The exponential moving average of a network's weights, which is what is validated and shipped where it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FILE = "average.safetensors"


class Average:
    """Averages every floating-point parameter and buffer of `model`.

    Step t counts with 1 - min(decay, (1 + t) / (10 + t)), so that a short training is not held back by its start
    (TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: Any, decay: float) -> None:
        self._decay = decay
        self._live: dict[str, torch.Tensor] = {
            name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()
        }
        self._mean = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    def update(self, step: int) -> None:
        """Take in the weights behind `step`, counted from 1."""
        import torch

        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._mean.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights; its own come back at the end."""
        import torch

        with torch.no_grad():
            own = {name: tensor.clone() for name, tensor in self._live.items()}
            self._put(self._mean)
            try:
                yield
            finally:
                self._put(own)

    def save(self, folder: Path) -> None:
        """Write the average beside a training's checkpoint."""
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous() for name, tensor in self._mean.items()}, folder / FILE)

    def load(self, folder: Path) -> None:
        """Go on from a training's checkpoint."""
        import torch
        from safetensors.torch import load_file

        with torch.no_grad():
            for name, tensor in load_file(folder / FILE).items():
                self._mean[name].copy_(tensor)

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in self._live.items():
            tensor.copy_(weights[name])
