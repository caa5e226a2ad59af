"""Where the C++ runtime's sources are."""

from __future__ import annotations

from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime"
