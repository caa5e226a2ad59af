"""Tests in environments of their own: marked `environment(NAME)`, chosen by `--environment NAME`."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

import environments


class Environment:
    """An environment that has been made, with segexport in it as it is in the checkout."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: object, folder: Path) -> str:
        """Run a program of the environment in `folder`, which must succeed; what it wrote to standard output."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            environments.command(self.name, program, *arguments),
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> Environment:
    """The environment that the test's mark names; a machine that cannot have it skips the test."""
    name = _name(request.node)
    try:
        _make(name)
    except environments.EnvironmentAbsent as error:
        pytest.skip(str(error))
    return Environment(name)


@functools.cache
def _make(name: str) -> None:
    environments.make(name)
    environments.install_checkout(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--environment",
        action="append",
        default=[],
        metavar="NAME",
        help="run only the tests of this environment; repeatable",
    )


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, object, object]:
    """Refuse a mark that names no environment: where tests are collected, so that it is reported with workers too."""
    made = yield
    for item in made if isinstance(made, list) else []:
        if item.get_closest_marker("environment") and (name := _name(item)) not in environments.names():
            known = ", ".join(environments.names())
            raise pytest.Collector.CollectError(f"{item.name}: there is no environment {name}: choose from {known}")
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the environments that were asked for."""
    wanted = config.getoption("environment")
    if not wanted:
        return
    named = {item: _name(item) for item in items if item.get_closest_marker("environment")}
    known = sorted(set(named.values()))
    for name in wanted:
        if name not in known:
            raise pytest.UsageError(f"no test has an environment {name}: choose from {', '.join(known)}")
    config.hook.pytest_deselected(items=[item for item in items if named.get(item) not in wanted])
    items[:] = [item for item in items if named.get(item) in wanted]


def _name(item: pytest.Item) -> str:
    mark = item.get_closest_marker("environment")
    if mark is None or len(mark.args) != 1:
        raise pytest.Collector.CollectError(f'{item.name}: write @pytest.mark.environment("NAME"), where it runs')
    return str(mark.args[0])
