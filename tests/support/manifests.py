"""Bundles changed on purpose: manifests of older schemas, sums written anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from segexport.bundle import MANIFEST, SUMS


def reseal(folder: Path) -> None:
    """Write the checksums anew, as someone who changes a bundle on purpose would."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / SUMS).write_text("".join(lines))


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    """Change a bundle's manifest, and its checksums to match."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))
    reseal(folder)


def second_schema(manifest: dict) -> None:
    """As manifests were before graphs were lowered."""
    manifest["schema"] = 2
    del manifest["engine"]["derived"], manifest["engine"]["int8"], manifest["lowering"]


def first_schema(manifest: dict) -> None:
    """As they were before engines had graphs of their own."""
    second_schema(manifest)
    manifest["schema"] = 1
    manifest["engine"]["machine"] = "another processor"  # the portable graph may round one pixel another way
    del manifest["engine"]["class_map"], manifest["engine"]["rewrites"]
