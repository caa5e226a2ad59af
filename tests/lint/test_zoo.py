"""Each small graph breaks the rules it is meant to, and TensorRT for RTX refuses exactly those that break an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segexport.lint import Verdict, check_file, choose_targets
from segexport.lint.rules import rules
from tests.lint.zoo import ATTENTION, ZOO, Animal
from tests.support.verdicts import verdicts

RTX = choose_targets(["rtx"])
RULES = {rule.id: rule for rule in rules()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("zoo")
    return {animal.name: animal.save(folder) for animal in ZOO}


@pytest.fixture(scope="module")
def ours(files: dict[str, Path]) -> dict[str, Verdict]:
    return {name: check_file(path, RTX) for name, path in files.items()}


@pytest.fixture(scope="module")
def theirs(rtx: None, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    said = verdicts(list(files.values()))
    return {name: said[path.name] for name, path in files.items()}


def refusals(verdict: Verdict) -> list[str]:
    """Errors that TensorRT must see too."""
    return [f"{one.rule} at {one.node}" for one in verdict.findings if one.severity == "error" and not one.silent]


def test_the_zoo_has_two_of_everything() -> None:
    assert len({animal.name for animal in ZOO}) == len(ZOO) >= 60
    bad = [animal for animal in ZOO if any(RULES[one].severity == "error" for one in animal.rules)]
    assert min(len(bad), len(ZOO) - len(bad)) >= 60


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_what_breaks_which_rule(animal: Animal, ours: dict[str, Verdict]) -> None:
    assert {one.rule for one in ours[animal.name].findings} == animal.rules


def test_every_rule_has_an_animal() -> None:
    seen = {one for animal in ZOO for one in animal.rules}
    elsewhere = {rule.id for rule in rules() if "rtx" not in rule.flavours}
    assert {rule.id for rule in rules()} - seen - elsewhere == {"opset-too-new"}, "TensorRT for RTX knows no newest"


def test_no_disagreement_with_tensorrt(ours: dict[str, Verdict], theirs: dict[str, dict[str, Any]]) -> None:
    """A graph counts as refused where the parser, or else the builder, says so, or dies of it."""
    wrong = {
        name: (refusals(verdict), theirs[name]["reason"])
        for name, verdict in ours.items()
        if bool(refusals(verdict)) == theirs[name]["taken"]
    }
    assert wrong == {}


def test_what_tensorrt_is_silent_about_is_taken(ours: dict[str, Verdict], theirs: dict[str, dict[str, Any]]) -> None:
    """A silent rule that TensorRT begins to refuse is to be marked otherwise."""
    silent = {name: v for name, v in ours.items() if any(one.silent for one in v.findings) and not refusals(v)}
    assert {rule.id for rule in rules() if rule.silent} == {
        f.rule for v in silent.values() for f in v.findings if f.silent
    }
    assert all(theirs[name]["taken"] for name in silent)


@pytest.mark.parametrize("animal", ATTENTION, ids=lambda animal: animal.name)
def test_attention_without_a_warning_is_one_kernel(animal: Animal, theirs: dict[str, dict[str, Any]]) -> None:
    """Read from the names of kernels in the plan."""
    assert theirs[animal.name]["fused"] == (not animal.rules)


def test_outputs_have_the_types_that_we_say(files: dict[str, Path], theirs: dict[str, dict[str, Any]]) -> None:
    assert theirs["argmax declared int32"]["types"] == ["INT64"]
    assert theirs["float64 output"]["types"] == ["FLOAT"]
    assert theirs["Q/DQ in float16"]["types"] == ["HALF"]
