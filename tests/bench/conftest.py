"""A bundle whose batch is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from segexport.bundle import Bundle
from segexport.spec import DYNAMIC
from tests.support.checkpoints import SIZE
from tests.support.once import built_once


@pytest.fixture(scope="session")
def open_batch(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Bundle:
    """The checkpoint built for ONNX Runtime at 64x96, for any number of images at once."""
    return built_once(tmp_path_factory, "bundle/open-batch", checkpoint, engine="onnxruntime", size=SIZE, batch=DYNAMIC)
