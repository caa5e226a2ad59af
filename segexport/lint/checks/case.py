"""What a check is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from segexport.lint.rules import Operators, Target
from segexport.lint.subject import Subject


@dataclass(frozen=True)
class Case:
    """One rule on one graph for one target."""

    graph: Subject
    target: Target
    operators: Operators
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Site:
    """Where a rule is broken, and how: `detail` is said before the rule's reason.

    Sites that differ by node alone are shown as one.
    """

    node: str
    operator: str
    detail: str


Sites = Iterator[Site]


def at(node: ir.Node, detail: str) -> Site:
    """A site at a node; one without a name goes by what it makes."""
    name = node.name or next((f"the node of {value.name}" for value in node.outputs if value.name), "(no name)")
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Site(name, operator, detail)


def at_value(value: ir.Value, kind: str, detail: str) -> Site:
    """A site at an `input`, `constant` or `output`."""
    return Site(value.name or "(no name)", kind, detail)


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`, each name once."""
    once = list(dict.fromkeys(names))
    return " and ".join([", ".join(once[:-1]), once[-1]]) if len(once) > 1 else "".join(once)
