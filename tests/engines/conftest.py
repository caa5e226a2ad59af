"""The GPU that some tests run on, or why there is none."""

from __future__ import annotations

import pytest

from segexport.tensorrt.device import Gpu, gpus, missing


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The first GPU; tests that ask for it are skipped with the reason where there is none."""
    if why := missing():
        pytest.skip(why)
    return gpus()[0]
