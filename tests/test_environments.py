"""Environments of their own: what describes them, how they are made, and how the tests in them are chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import environments

LISTED = sorted(path.stem for path in environments.REQUIREMENTS.glob("*.txt"))
MARKED = """
import pytest

@pytest.mark.environment("oldest")
def test_one(): pass

@pytest.mark.{mark}
def test_two(): pass

def test_nowhere(): pass
"""


@pytest.mark.parametrize("name", LISTED)
def test_every_environment_pins_every_package(name: str) -> None:
    pinned = [Requirement(line) for line in environments.requirements(name)]
    assert len({canonicalize_name(one.name) for one in pinned}) == len(pinned) > 20
    for one in pinned:
        assert [specifier.operator for specifier in one.specifier] == ["=="], one
        assert "*" not in str(one.specifier), one


def test_the_oldest_packages_are_those_that_the_project_promises() -> None:
    project = tomllib.loads((environments.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    promised = {}
    for one in map(Requirement, (*project["dependencies"], *extras["cpu"], *extras["openvino"])):
        (lowest,) = (specifier for specifier in one.specifier if specifier.operator == ">=")
        promised[canonicalize_name(one.name)] = Version(lowest.version)
    pinned = {canonicalize_name(one.name): one for one in map(Requirement, environments.requirements("oldest"))}
    found = {name: Version(str(pinned[name].specifier).removeprefix("==")) for name in promised}
    assert found == promised


def test_environments_lie_where_git_ignores_them() -> None:
    ignored = (environments.ROOT / ".gitignore").read_text().splitlines()
    assert f"/{environments.FOLDER.relative_to(environments.ROOT)}/" in ignored


def test_an_unknown_environment_is_refused_with_the_names() -> None:
    with pytest.raises(
        environments.EnvironmentFailed, match=r"there is no environment odlest: choose from aarch64, .*old"
    ):
        environments.make("odlest")


def test_a_python_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "FOLDER", tmp_path / ".envs")
    with pytest.raises(environments.EnvironmentAbsent, match=r"needs Python 3.10: install it, and put python3.10 on"):
        environments.make("oldest")
    assert not environments.FOLDER.exists()


@pytest.mark.slow
def test_an_environment_is_made_once_and_again_when_its_packages_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "small.txt").write_text("# A package that there is not.\nsegexport-no-such-package==1.0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / ".envs")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(environments.EnvironmentFailed, match=r"environment small cannot be made: .*no-such-package"):
        environments.make("small")
    assert not environments.is_made("small")

    (tmp_path / "small.txt").write_text("# Nothing.\n")
    environments.make("small")
    assert environments.is_made("small")
    folder = environments.python("small").parents[1]
    (folder / "kept").touch()
    environments.make("small")
    assert (folder / "kept").exists()
    found = subprocess.check_output(environments.command("small", "python", "-c", "import sys; print(sys.prefix)"))
    assert found.decode().strip() == str(folder)

    (tmp_path / "small.txt").write_text("segexport-no-such-package==1.0\n")
    assert not environments.is_made("small")


def run(folder: Path, mark: str, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest on a test in environment `oldest`, one with `mark` and one without, none of which does anything."""
    (folder / "test_marked.py").write_text(MARKED.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "-v", "-p", "tests.support.environments"]
    return subprocess.run(
        [*command, "--rootdir", str(folder), "-c", os.devnull, *options, "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(environments.ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tests_are_chosen_by_their_environment(tmp_path: Path) -> None:
    found = run(tmp_path, 'environment("aarch64")', "--environment", "aarch64")
    assert (found.returncode, "test_two" in found.stdout) == (0, True), found.stderr
    assert "test_one" not in found.stdout
    assert "test_nowhere" not in found.stdout


def test_an_environment_that_no_test_has_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    found = run(tmp_path, 'environment("aarch64")', "--environment", "aarch46")
    assert found.returncode != 0
    assert "ERROR: no test has an environment aarch46: choose from aarch64, oldest" in found.stderr


@pytest.mark.slow
def test_a_typing_error_in_a_mark_fails_in_workers_too(tmp_path: Path) -> None:
    found = run(tmp_path, 'environment("aarch46")', "-p", "xdist", "-n", "1")
    assert found.returncode != 0
    assert "test_two: there is no environment aarch46: choose from aarch64, " in found.stdout


def test_a_mark_without_a_name_fails(tmp_path: Path) -> None:
    found = run(tmp_path, "environment")
    assert found.returncode != 0
    assert 'test_two: write @pytest.mark.environment("NAME")' in found.stdout
