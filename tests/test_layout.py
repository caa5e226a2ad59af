"""How the tests lie: what several modules share is in tests/support, so that one that skips takes no other with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def imported(module: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module below tests/ takes from below tests/."""
    package = (TESTS.name, *module.relative_to(TESTS).parts[:-1])
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == TESTS.name)


def why_not(module: Path, name: str) -> str:
    """What is wrong with an import, or nothing."""
    parts = name.split(".")
    if any(part == "conftest" or part.startswith("test_") for part in parts):
        return "tests and fixtures are imported by nobody: move what is shared to tests/support"
    own = (TESTS.name, *module.relative_to(TESTS).parts[:-1])
    if parts[1] != "support" and tuple(parts[: len(own)]) != own:
        return "another folder's helpers belong in tests/support"
    return ""


def test_no_module_imports_tests_fixtures_or_another_folders_helpers() -> None:
    modules = sorted(TESTS.rglob("*.py"))
    found = {(module, line, name) for module in modules for line, name in imported(module)}
    assert len(found) > 100, "hardly an import was found"
    wrong = [f"{m.relative_to(TESTS)}:{line}: {name}: {why}" for m, line, name in found if (why := why_not(m, name))]
    assert not wrong, "\n".join(sorted(wrong))


def test_the_check_can_fail() -> None:
    module = TESTS / "passes" / "test_x.py"
    for name in ("tests.conftest.SIZE", "tests.passes.test_y.ending", "tests.precision.handmade.mixed", "tests.test_x"):
        assert why_not(module, name), name
    for name in ("tests.support.handmade.graph_of", "tests.passes.small.one"):
        assert not why_not(module, name), name
