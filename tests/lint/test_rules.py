"""The data are whole: every rule has a check, a source and a remedy, and every target is decided by them."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from segexport.errors import ContractError
from segexport.graph.load import load_model
from segexport.lint import check_model, choose_targets, targets
from segexport.lint.checks import CHECKS
from segexport.lint.rules import operators, rules
from tests.lint.zoo import Animal
from tests.lint.zoo.animal import f16, f32, i64


def test_rules_and_checks_are_each_others() -> None:
    assert {rule.check for rule in rules()} == set(CHECKS)
    assert len({rule.id for rule in rules()}) == len(rules())
    for rule in rules():
        for text in (rule.id, rule.why, rule.fix, rule.source):
            assert text.strip(), rule
        assert not (rule.silent and rule.severity != "error")
        assert all(inspect.getdoc(check) for check in CHECKS.values())


def test_targets() -> None:
    assert list(targets()) == ["jetpack-6.1", "jetpack-7.2", "tensorrt-11", "rtx"]
    assert [one.name for one in choose_targets(["rtx", "all", "rtx"])] == list(targets())
    assert [one.name for one in choose_targets(["rtx", "jetpack-6.1", "rtx"])] == ["rtx", "jetpack-6.1"]
    with pytest.raises(ContractError, match=r"'jetpack-5' is no target .* jetpack-6.1\|jetpack-7.2\|tensorrt-11\|rtx"):
        choose_targets(["jetpack-5"])


def test_operators_by_version() -> None:
    old, new, _, rtx = (operators(target) for target in targets().values())
    assert new.names - old.names == set(new.since)
    assert {"NonZero", "DeformConv"} <= old.names
    assert not {"NonZero", "DeformConv"} & rtx.names
    assert {"Conv", "LayerNormalization", "Gelu"} <= old.names & rtx.names


def broken(animal: Animal, folder: Path, target: str) -> set[str]:
    found = check_model(load_model(animal.save(folder)), choose_targets([target]))
    return {one.rule for one in found if one.severity == "error"}


BATCHNORM = Animal(
    "batchnorm",
    "(float16[1,4,8,8] x) => (float16[1,4,8,8] y)",
    "y = BatchNormalization(x, s, s, s, s)",
    {"s": f32(4)},
)
EINSUM = Animal("einsum", "(float[2,8,8] x) => (float[2,8,8] y)", 'y = Einsum<equation="...ij,...jk->...ik">(x, x)')
POW = Animal("pow", "(int64[8] x) => (int64[8] y)", "y = Pow(x, c)", {"c": i64(2)})
ATTENTION = Animal("attention", "(float[1,2,64,64] q) => (float[1,2,64,64] y)", "y = Attention(q, q, q)", opset=23)
UNSORTED = Animal(
    "unsorted", "(float[1,8] x) => (float[1,2] y, int64[1,2] i)", "y, i = TopK<sorted=0>(x, k)", {"k": i64(2)}
)
SUM = Animal("sum", "(float16[8] x) => (float16[8] y)", "y = Add(x, c)", {"c": f32(8)})
SCATTER = Animal(
    "scatter",
    "(float[4,8] x, float[1,8] u) => (float[4,8] y)",
    'y = ScatterElements<reduction="add">(x, i, u)',
    {"i": np.zeros((1, 8), np.int64)},
)
NONZERO = Animal("nonzero", "(float[4,8] x) => (int64[2,n] y)", "y = NonZero(x)")
RELU = Animal("relu", "(float[8] x) => (float[8] y)", "y = Relu(x)")


@pytest.mark.parametrize(
    ("animal", "old", "new", "rtx"),
    [
        (BATCHNORM, {"batchnorm-types"}, set(), set()),
        (EINSUM, {"einsum-form"}, set(), set()),
        (POW, {"pow-integer"}, set(), set()),
        (ATTENTION, {"opset-too-new", "operator-missing"}, set(), {"attention-operator", "attention-shared"}),
        (UNSORTED, {"topk-unsorted"}, {"topk-unsorted"}, set()),
        (SCATTER, set(), set(), {"scatter-elements-reduction"}),
        (NONZERO, set(), set(), {"operator-missing"}),
        (SUM, {"mixed-types"}, {"mixed-types"}, {"mixed-types"}),
        (dataclasses.replace(RELU, opset=20), set(), set(), set()),
        (dataclasses.replace(RELU, opset=21), {"opset-too-new"}, set(), set()),
        (dataclasses.replace(RELU, opset=26), {"opset-too-new"}, {"opset-too-new"}, set()),
    ],
    ids=lambda one: one.name if isinstance(one, Animal) else "",
)
def test_targets_differ(animal: Animal, old: set, new: set, rtx: set, tmp_path: Path) -> None:
    assert broken(animal, tmp_path, "jetpack-6.1") == old
    assert broken(animal, tmp_path, "tensorrt-11") == broken(animal, tmp_path, "jetpack-7.2") == new
    assert broken(animal, tmp_path, "rtx") == rtx


def test_a_finding_says_what_where_why_and_what_to_do(tmp_path: Path) -> None:
    (one,) = check_model(load_model(SUM.save(tmp_path)), choose_targets(["all"]))
    assert (one.rule, one.severity, one.node, one.operator) == ("mixed-types", "error", "Add_0", "Add")
    assert one.detail == "reads float and float16"
    assert one.targets == tuple(targets())
    assert "strongly typed" in one.why
    assert "Cast" in one.fix
    assert "1.7.1.116" in one.source


def test_checking_changes_nothing(tmp_path: Path) -> None:
    model = load_model(dataclasses.replace(SUM, constants={"c": f16(8)}).save(tmp_path))
    before = ir.to_proto(model).SerializeToString()
    assert check_model(model, choose_targets(["all"])) == ()
    assert ir.to_proto(model).SerializeToString() == before
