"""transformers 4.57, the oldest that is supported: its modules have other names, and its Trainer is another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segexport.bundle import Bundle
from tests.support.environments import Environment

pytestmark = pytest.mark.environment("transformers-4")

ROOT = Path(__file__).parents[1]
WHERE_TRANSFORMERS_IS_USED = (
    "tests/finetuning",
    "tests/weights/test_pytorch.py",
    "tests/original/test_function.py",
    "tests/engines/test_parity.py",
)


@pytest.mark.parametrize("tests", WHERE_TRANSFORMERS_IS_USED)
def test_the_projects_own_tests_pass(environment: Environment, tests: str) -> None:
    version = environment.run("python", "-c", "import transformers; print(transformers.__version__)", folder=ROOT)
    assert version.startswith("4.57.")
    chosen = ("-m", "not slow and not environment", "-p", "no:cacheprovider", tests)
    assert " passed" in environment.run("python", "-m", "pytest", *chosen, folder=ROOT).splitlines()[-1]


def test_a_bundle_sees_what_pytorch_sees(environment: Environment, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    environment.run("segexport", "bench", bundle.folder, "--data", data, "--json", "out.json", folder=tmp_path)
    reference, found = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert found["agreement"] >= 0.9998
    assert abs(found["miou"] - reference["miou"]) <= 0.0005
