"""What is known of each TensorRT, as data: targets, operators, types and rules (`data/tensorrt-rules.json`).

Every rule says where it was seen or read. A rule that TensorRT itself is silent about (it takes the graph and computes
something else) is marked `silent`; all other errors are refusals of its parser or builder.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segexport.data import read_json
from segexport.errors import ContractError

Severity = Literal["error", "warning"]
Flavour = Literal["tensorrt", "rtx"]

DATA = "tensorrt-rules.json"


@dataclass(frozen=True)
class Target:
    """A TensorRT to check against. `opsets` are the oldest and newest that are promised; None where nothing ends."""

    name: str
    title: str
    flavour: Flavour
    version: tuple[int, int]
    opsets: tuple[int, int | None]
    source: str


@dataclass(frozen=True)
class Rule:
    """One thing to check: `check` names the function that does, `parameters` are what it is given.

    An `error` is refused or computed wrongly by the target, a `warning` works and costs something.
    `before`: classic TensorRT has it no longer from this version on.
    """

    id: str
    severity: Severity
    check: str
    why: str
    fix: str
    source: str
    parameters: Mapping[str, Any]
    flavours: tuple[Flavour, ...] = ("tensorrt", "rtx")
    before: tuple[int, int] | None = None
    silent: bool = False

    def applies(self, target: Target) -> bool:
        """Whether the rule holds for `target`."""
        return target.flavour in self.flavours and (self.before is None or target.version < self.before)


@dataclass(frozen=True)
class Operators:
    """Which operators a target's parser has, by name, and which types (as ONNX writes them) each takes."""

    names: frozenset[str]
    since: Mapping[str, tuple[int, int]]
    types: Mapping[str, frozenset[str]]
    typed_input: Mapping[str, int]
    """The input that `types` is about, where it is not the first."""


def targets() -> dict[str, Target]:
    """Every target by name, in the order of the data."""
    return {
        one["name"]: Target(**{**one, "version": version(one["version"]), "opsets": tuple(one["opsets"])})
        for one in read_json(DATA)["targets"]
    }


def choose_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """Targets by name, each once; `all` stands for every one.

    Raises:
        ContractError: an unknown name.
    """
    known = targets()
    asked = list(dict.fromkeys(names))
    chosen = list(known) if "all" in asked else asked
    if unknown := [name for name in chosen if name not in known]:
        raise ContractError(f"'{unknown[0]}' is no target to check for: pass --target {'|'.join(known)}|all")
    return tuple(known[name] for name in chosen)


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Every rule, in the order in which findings are shown."""
    raw = read_json(DATA)["rules"]
    parameters = {one["id"]: one.get("parameters", {}) for one in raw}
    found = []
    for one in raw:
        own = one.get("parameters", {})
        fields = {**one, "parameters": parameters[own] if isinstance(own, str) else own}  # a name: that rule's
        for key, read in (("flavours", tuple), ("before", version)):
            if key in fields:
                fields[key] = read(fields[key])
        found.append(Rule(**fields))
    return tuple(found)


@functools.cache
def operators(target: Target) -> Operators:
    """What is known of `target`'s operators."""
    data = read_json(DATA)
    listed, groups = data["operators"], data["types"][target.flavour]
    since = {name: version(text) for name, text in listed["since"].items()} if target.flavour == "tensorrt" else {}
    names = {*listed["both"], *listed[target.flavour]}
    return Operators(
        names=frozenset(name for name in names if target.version >= since.get(name, target.version)),
        since=since,
        types={name: frozenset(group["types"]) for group in groups for name in group["operators"]},
        typed_input=data["types"]["index"],
    )


def version(text: str) -> tuple[int, int]:
    """(major, minor) of `10.3`."""
    major, minor = text.split(".")
    return int(major), int(minor)
