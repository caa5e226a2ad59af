"""Short names of published checkpoints, such as `b0`: what they stand for, and which one was meant."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from segexport.data import read_json

KNOWN = "b0 ... b5, b0-cityscapes ..., mit-b0 ..."
"""The aliases, as messages and help texts name them."""


def alias_of(name: str) -> dict[str, Any] | None:
    """What an alias stands for, unless a checkpoint's folder has the name: a bundle may well be called b0."""
    entry: dict[str, Any] | None = read_json("aliases.json")["aliases"].get(name)
    return None if entry is None or (Path(name) / "config.json").exists() else entry


def aliases() -> dict[str, str]:
    """Every alias and the hub id it stands for."""
    return {name: entry["id"] for name, entry in read_json("aliases.json")["aliases"].items()}


def alias_config(alias: str) -> dict[str, Any]:
    """The configuration of an alias's architecture, which needs no network."""
    from segexport.segformer import names

    table = read_json("aliases.json")
    entry = table["aliases"][alias]
    labels = table["label_sets"][entry["labels"]]
    classes = labels.get("names") or [f"LABEL_{i}" for i in range(labels["count"])]
    class_name = next(c for c, a in names.CLASSES.items() if a == entry["task"])
    return {
        **table["common"],
        **table["architectures"][entry["architecture"]],
        "architectures": [class_name],
        "id2label": {str(i): n for i, n in enumerate(classes)},
        "label2id": {n: i for i, n in enumerate(classes)},
    }


def unknown(name: str) -> str:
    """What to say of a name that is no folder, no file and no alias: a sentence, for the remedy to follow."""
    near = _nearest(name)
    return f"{name}: no such folder, file or alias" + (f"; did you mean {near}?" if near else ".")


def _nearest(name: str) -> str | None:
    """The folder beside, or the alias, that was probably meant."""
    path = Path(name)
    beside = [str(found) for found in path.parent.glob("*") if found.is_dir()] if path.parent != Path() else []
    if close := difflib.get_close_matches(name, beside, n=1, cutoff=0.7):
        return close[0]
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    held = [alias for alias in aliases() if set(alias.split("-")) <= words]
    if held:
        return max(held, key=len)
    likeness = {alias: difflib.SequenceMatcher(None, name.lower(), alias).ratio() for alias in aliases()}
    best = max(likeness, key=lambda alias: likeness[alias])
    return best if likeness[best] >= 0.5 else None
