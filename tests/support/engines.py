"""Engines that a test needs, and the reason to skip it without them."""

from __future__ import annotations

import pytest

from segexport.engines import info


def require_engine(name: str) -> None:
    """Skip the test, with the reason, where an engine cannot run."""
    if why := info(name).missing:
        pytest.skip(f"{name}: {why}")
