"""Which TensorRTs a file must hold on, what it uses of them, and what mypy says of it there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stubs.bindings import CLASSIC, TENSORRT_RTX, VERSIONS, Version

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "segexport" / "tensorrt"
SOURCES = sorted(PACKAGE.glob("*.py"))

# A file not named here must hold on all of them. See stubs/README.md for what differs within a file.
ONLY: dict[str, tuple[Version, ...]] = {
    "rtx.py": (TENSORRT_RTX,),
    "rtx_runtime.py": (TENSORRT_RTX,),
    "classic.py": CLASSIC,
}

SINCE = re.compile(r"\bsince_(\d+)_(\d+)\b")
PASSED_ON = re.compile(r"^trt\b.* = |\.bindings\(\)(?!\.__version__)")


@dataclass(frozen=True)
class Use:
    """`trt.BuilderFlag.TF32` in a file; under `if since_10_7:` only newer versions must have it."""

    name: str
    file: Path
    line: int
    since: tuple[int, int] = (0, 0)


def holds(file: Path) -> tuple[Version, ...]:
    """The versions that a file must hold on."""
    return ONLY.get(file.name, VERSIONS)


def release(version: Version) -> tuple[int, int]:
    """(10, 13) of `tensorrt-10.13`."""
    major, minor = version.folder.rpartition("-")[2].split(".")
    return int(major), int(minor)


def uses(file: Path) -> list[Use]:
    """Every dotted name that starts with `trt.`, as far as it is written out."""
    return list(_uses(ast.parse(file.read_text()), file, (0, 0)))


def _uses(node: ast.AST, file: Path, since: tuple[int, int]) -> Iterator[Use]:
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        if re.fullmatch(r"trt(\.\w+)+", name):
            yield Use(name, file, node.lineno, since)
            return
    if isinstance(node, ast.If) and (gate := SINCE.search(ast.unparse(node.test))):
        for child in node.body:
            yield from _uses(child, file, (int(gate[1]), int(gate[2])))
        for child in node.orelse:
            yield from _uses(child, file, since)
        return
    for child in ast.iter_child_nodes(node):
        yield from _uses(child, file, since)


def unchecked(file: Path) -> list[str]:
    """Ways past mypy: a module that it sees as Any, and attributes named by strings."""
    tree = ast.parse(file.read_text())
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    as_meant = {id(statement) for node in guarded for statement in node.orelse}
    found = []
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return, ast.Call)) else ""
        if isinstance(node, ast.arg) and node.arg == "trt":
            found.append((node, "trt as an argument is Any to mypy: bind it in the function"))
        elif isinstance(node, ast.Call) and re.match(r"getattr\(trt\b[^,]*,[^,]*\)$", text):
            found.append((node, "getattr hides a name from mypy: write it out, under `if since_X_Y:` if it must"))
        elif isinstance(node, ast.stmt) and id(node) not in as_meant and re.search(PASSED_ON, text):
            found.append((node, "bindings go into `if TYPE_CHECKING: import tensorrt as trt, else: trt = ...`"))
    return [f"{file.relative_to(ROOT)}:{node.lineno}: {reason}" for node, reason in found]


def type_errors(files: Iterable[Path], version: Version, scratch: Path) -> list[str]:
    """What mypy, as strict as ever, says of files against the stubs of one version.

    `since_10_7` is a constant to it: false for the versions before.
    """
    files = list(files)
    gates = {gate[0]: gate for file in files for gate in SINCE.finditer(file.read_text())}
    closed = sorted(name for name, gate in gates.items() if (int(gate[1]), int(gate[2])) > release(version))
    override = '\n[[tool.mypy.overrides]]\nmodule = ["segexport.tensorrt.*", "uses"]\n'
    config = scratch / "pyproject.toml"
    config.write_text((ROOT / "pyproject.toml").read_text() + f"{override}always_false = {closed}\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(scratch / "cache")),
            *("--follow-imports=silent", "--no-error-summary", "--no-pretty", "--no-color-output", *map(str, files)),
        ],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "stubs" / version.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout
    return [line for line in done.stdout.splitlines() if ": error: " in line]
