"""What the real TensorRT for RTX says, asked in processes of their own, since some graphs end them."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
