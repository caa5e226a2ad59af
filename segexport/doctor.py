"""What is wrong with what a user has, and how to mend it: graphs, bundles, checkpoints, data.

`examine` looks at what it is given. Each further kind is an entry of `_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segexport import checkpoint, original
from segexport.aliases import aliases
from segexport.bundle import MANIFEST, SUMS, open_bundle
from segexport.datasets.opening import find_layout, is_huggingface
from segexport.errors import CheckpointError, ContractError, DataError
from segexport.hub import WEIGHT_FILES
from segexport.lint import Verdict, check_file, choose_targets
from segexport.spec import Labels, to_json
from segexport.traps.checkpoint import examine_checkpoint
from segexport.traps.data import examine_data
from segexport.traps.examination import Examination

SCHEMA = 1


@dataclass(frozen=True)
class _Asked:
    """What a thing is examined against."""

    targets: tuple[str, ...]
    data: Path | None
    classes: Path | None


def examine(
    path: str | Path,
    *,
    targets: Iterable[str] = ("all",),
    kind: str | None = None,
    data: str | Path | None = None,
    classes: str | Path | None = None,
) -> Verdict | Examination:
    """Examine an ONNX file, a bundle, a checkpoint or a data set.

    Args:
        path: a file or folder; of a checkpoint, a hub id or an alias will do.
        targets: the TensorRTs that a graph is meant for.
        kind: what to take it for (`onnx`, `bundle`, `checkpoint` or `data`), if not what it looks like.
        data: the images that a checkpoint is to be trained or evaluated on: both are examined, and held against each
            other.
        classes: a file of class names for the data.

    Raises:
        DataError: nothing there, or not what it is taken for, or a graph without outputs or with weights missing.
        BundleCorrupt: a folder that is no bundle, or not what was built.
        ContractError: an unknown target or kind.
        EngineUnavailable: a checkpoint, and torch or transformers is not installed.
    """
    if kind is not None and kind not in _KINDS:
        raise ContractError(f"'{kind}' is no kind of thing to examine: pass --as {', '.join(_KINDS)}")
    chosen = kind or _kind_of(path)
    if data is not None and chosen != "checkpoint":
        raise ContractError(f"--data is what a checkpoint is held against, and {path} is taken for: {chosen}")
    if chosen in ("onnx", "bundle") and not Path(path).exists():
        raise DataError(f"{path} does not exist: pass an .onnx file, a bundle, a checkpoint or a data set")
    asked = _Asked(tuple(targets), Path(data) if data else None, Path(classes) if classes else None)
    return _KINDS[chosen](path, asked)


def as_json(found: Verdict | Examination) -> dict[str, Any]:
    """Plain values for `doctor --json`: every finding of every target, or every trap."""
    if isinstance(found, Examination):
        return {"schema": SCHEMA, **to_json(found), "passed": found.passed}
    targets = [
        {**to_json(one), "errors": found.count("error", one), "warnings": found.count("warning", one)}
        for one in found.targets
    ]
    findings = [to_json(one) for one in found.findings]
    return {"schema": SCHEMA, "file": found.file, "passed": found.passed, "targets": targets, "findings": findings}


def _kind_of(name: str | Path) -> str:
    path = Path(name)
    if path.is_dir():
        if (path / MANIFEST).exists() or (path / SUMS).exists():
            return "bundle"
        if any((path / file).exists() for file in ("config.json", *WEIGHT_FILES)):
            return "checkpoint"
        if is_huggingface(path) or find_layout(path, need_masks=False) is not None:
            return "data"
        raise DataError(f"{path} is neither a bundle, a checkpoint nor a data set: pass --as to say what it should be")
    if path.suffix in original.SUFFIXES:
        return "checkpoint"
    # A name that is no path may be an alias or a hub id.
    named = not path.suffix and (str(name) in aliases() or str(name).count("/") == 1)
    return "checkpoint" if named and not path.exists() else "onnx"


def _graph(path: str | Path, asked: _Asked) -> Verdict:
    return check_file(Path(path), choose_targets(asked.targets))


def _bundle(path: str | Path, asked: _Asked) -> Verdict:
    """A bundle's portable graph, which is what TensorRT is given."""
    return _graph(open_bundle(path).model, asked)


def _checkpoint(path: str | Path, asked: _Asked) -> Examination:
    traps = examine_checkpoint(path, data=asked.data)
    if asked.data is not None:
        traps += examine_data(asked.data, labels=_labels(path), classes=asked.classes)
    return Examination(str(path), "checkpoint", tuple(sorted(traps, key=lambda trap: trap.severity != "error")))


def _labels(path: str | Path) -> Labels | None:
    """A checkpoint's classes; None for one so broken that `examine_checkpoint` has said so."""
    try:
        return checkpoint.load(path).labels
    except CheckpointError:
        return None


def _data(path: str | Path, asked: _Asked) -> Examination:
    return Examination(str(path), "data", examine_data(Path(path), classes=asked.classes))


_KINDS: dict[str, Callable[[str | Path, _Asked], Verdict | Examination]] = {
    "onnx": _graph,
    "bundle": _bundle,
    "checkpoint": _checkpoint,
    "data": _data,
}
