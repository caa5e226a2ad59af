"""The images that everybody calibrates with: uint8 [N, height, width, 3], written by the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from protocol import Request


def batches(request: Request, processor: Any) -> Iterator[np.ndarray]:
    """Each image as the network reads it, [1, 3, height, width], from the checkpoint's own processor."""
    for rgb in np.load(request["images"], mmap_mode="r"):
        yield processor(images=np.array(rgb), return_tensors="np")["pixel_values"]
