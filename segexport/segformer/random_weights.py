"""Random weights as the SegFormer authors draw them, by NumPy, the same for everyone who names the same seed.

Sources: NVlabs/SegFormer. Encoder: `mix_transformer.py`, `_init_weights`: linear layers from a normal of 0.02 (cut at
+-2, a hundred deviations away), convolutions from a normal of sqrt(2 / fan_out) with fan_out = kernel area * output
channels / groups, biases 0, LayerNorm 1 and 0. Head: `segformer_head.py`: linear layers and the last layer uniform
within 1 / sqrt(fan_in), as PyTorch draws them (Kaiming uniform with a = sqrt(5)), the fusing convolution from mmcv's
ConvModule (Kaiming normal of fan_out for ReLU), BatchNorm 1 and 0.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping

import numpy as np
import numpy.typing as npt

from segexport.segformer import names
from segexport.segformer.parameters import Shape, parameters
from segexport.segformer.structure import Structure

Tensor = npt.NDArray[np.float32]

_VERSION = 1
"""Of how weights are drawn: another number where that changes."""


def draw(structure: Structure, seed: int, only: Container[str] | None = None) -> dict[str, Tensor]:
    """Every tensor of `parameters(structure)`, or those among `only`, float32, by its name on disk.

    Each tensor has a generator of its own, seeded with `seed` and its name, so that it is the same whatever else is
    drawn.
    """
    shapes = parameters(structure)
    return {name: _draw(name, shape, shapes, seed) for name, shape in shapes.items() if only is None or name in only}


def sha256(structure: Structure, seed: int) -> str:
    """What identifies the weights that `draw` gives, without drawing them all.

    It covers what they are drawn from, names, shapes and the seed, and the numbers of the first tensor, which tell
    whether this NumPy draws as another did.
    """
    shapes = parameters(structure)
    (first,) = draw(structure, seed, only=[next(iter(shapes))]).values()
    digest = hashlib.sha256(f"{_VERSION} {seed} {sorted(shapes.items())}".encode())
    digest.update(first.tobytes())
    return digest.hexdigest()


def _draw(name: str, shape: Shape, shapes: Mapping[str, Shape], seed: int) -> Tensor:
    generator = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()])
    if name.endswith((".running_mean", ".bias")) and not _is_head_layer(name):
        return np.zeros(shape, np.float32)
    if len(shape) == 1 and name.endswith((".weight", ".running_var")):
        return np.ones(shape, np.float32)
    if name.startswith(f"{names.FUSE}."):
        return _normal(generator, shape, math.sqrt(2 / shape[0]))
    if _is_head_layer(name):
        fan_in = math.prod(shapes[f"{name.rpartition('.')[0]}.weight"][1:])
        limit = np.float32(1 / math.sqrt(fan_in))
        uniform: Tensor = (generator.random(shape, np.float32) * 2 - 1) * limit
        return uniform
    if len(shape) == 2:
        return _normal(generator, shape, 0.02)
    area = shape[2] * shape[3]
    groups = shape[0] if shape[1] == 1 and ".dwconv." in name else 1
    return _normal(generator, shape, math.sqrt(2 / (area * shape[0] / groups)))


def _is_head_layer(name: str) -> bool:
    """Whether PyTorch's own rule draws it: the decode head's layers for the stages, and its last one."""
    return name.startswith(f"{names.DECODE_HEAD}.") and not name.startswith((f"{names.FUSE}.", f"{names.BATCH_NORM}."))


def _normal(generator: np.random.Generator, shape: Shape, deviation: float) -> Tensor:
    found: Tensor = generator.standard_normal(shape, np.float32)
    found *= np.float32(deviation)
    return found
