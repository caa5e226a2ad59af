"""Data files of the package: model aliases, palettes, JSON Schemas."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def read_json(name: str) -> Any:
    """A JSON file of this folder, by name; read once, so treat it as read-only."""
    return json.loads(resources.files(__name__).joinpath(name).read_text(encoding="utf-8"))
