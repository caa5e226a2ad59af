"""Checking a model against targets: what each finds wrong, where, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from segexport.graph.load import load_model
from segexport.lint.checks import CHECKS
from segexport.lint.checks.case import Case
from segexport.lint.rules import Rule, Severity, Target, operators, rules
from segexport.lint.subject import Subject, require_whole


@dataclass(frozen=True)
class Finding:
    """A rule that a node breaks, on the targets named.

    Inputs, constants and outputs stand under their own names, with `input`, `constant` or `output` as operator.
    """

    rule: str
    severity: Severity
    node: str
    operator: str
    detail: str
    why: str
    fix: str
    source: str
    targets: tuple[str, ...]
    silent: bool


@dataclass(frozen=True)
class Verdict:
    """What was found in one file."""

    file: str
    targets: tuple[Target, ...]
    findings: tuple[Finding, ...]

    def count(self, severity: Severity, target: Target) -> int:
        """Findings of one severity for one target."""
        return sum(one.severity == severity and target.name in one.targets for one in self.findings)

    @property
    def passed(self) -> bool:
        """Whether no target has an error."""
        return not any(one.severity == "error" for one in self.findings)


def check_file(path: Path, targets: Iterable[Target]) -> Verdict:
    """Check an ONNX file.

    Raises:
        DataError: no such file, not ONNX, a graph without outputs, or weights that are missing.
    """
    model = load_model(path)
    require_whole(model, path)
    chosen = tuple(targets)
    return Verdict(str(path), chosen, check_model(model, chosen))


def check_model(model: ir.Model, targets: Iterable[Target]) -> tuple[Finding, ...]:
    """Check a model, which is not changed: errors first, then in the order of rules and nodes."""
    subject = Subject(model)
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for target in targets:
        for rule in rules():
            if rule.applies(target):
                case = Case(subject, target, operators(target), rule.parameters)
                for site in dict.fromkeys(CHECKS[rule.check](case)):
                    found.setdefault((rule.id, site.node, site.operator, site.detail), []).append(target.name)
    known = {rule.id: rule for rule in rules()}
    order = {rule.id: index for index, rule in enumerate(rules())}
    findings = [_finding(known[key[0]], *key[1:], tuple(names)) for key, names in found.items()]
    return tuple(sorted(findings, key=lambda one: (one.severity != "error", order[one.rule])))


def _finding(rule: Rule, node: str, operator: str, detail: str, targets: tuple[str, ...]) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        node=node,
        operator=operator,
        detail=detail,
        why=rule.why,
        fix=rule.fix,
        source=rule.source,
        targets=targets,
        silent=rule.silent,
    )
