"""What is wrong with what a user has, and how to mend it: graphs against every TensorRT they are meant for.

`examine` looks at what it is given. Graphs and bundles so far; each further kind is an entry of `_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from segexport.bundle import open_bundle
from segexport.errors import ContractError, DataError
from segexport.lint import Verdict, check_file, choose_targets
from segexport.spec import to_json

SCHEMA = 1


def examine(path: str | Path, *, targets: Iterable[str] = ("all",), kind: str | None = None) -> Verdict:
    """Examine a file or folder; `kind` forces what it is taken for (`onnx` or `bundle`).

    Raises:
        DataError: nothing there, or not what it is taken for, or a graph without outputs or with weights missing.
        BundleCorrupt: a folder that is no bundle, or not what was built.
        ContractError: an unknown target or kind.
    """
    path = Path(path)
    if kind is not None and kind not in _KINDS:
        raise ContractError(f"'{kind}' is no kind of thing to examine: pass --as {' or '.join(_KINDS)}")
    if not path.exists():
        raise DataError(f"{path} does not exist: pass an .onnx file, or a bundle made by segexport build")
    return _KINDS[kind or _kind_of(path)](path, tuple(targets))


def as_json(found: Verdict) -> dict[str, Any]:
    """Plain values for `doctor --json`: every finding of every target, and how many of each severity."""
    targets = [
        {**to_json(one), "errors": found.count("error", one), "warnings": found.count("warning", one)}
        for one in found.targets
    ]
    findings = [to_json(one) for one in found.findings]
    return {"schema": SCHEMA, "file": found.file, "passed": found.passed, "targets": targets, "findings": findings}


def _kind_of(path: Path) -> str:
    return "bundle" if path.is_dir() else "onnx"


def _graph(path: Path, targets: tuple[str, ...]) -> Verdict:
    return check_file(path, choose_targets(targets))


def _bundle(path: Path, targets: tuple[str, ...]) -> Verdict:
    """A bundle's portable graph, which is what TensorRT is given."""
    return _graph(open_bundle(path).model, targets)


_KINDS: dict[str, Callable[[Path, tuple[str, ...]], Verdict]] = {"onnx": _graph, "bundle": _bundle}
