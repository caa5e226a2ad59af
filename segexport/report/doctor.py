"""What `segexport doctor` says on the terminal: a line for each reason, and a summary."""

from __future__ import annotations

from collections.abc import Iterator

from segexport.lint import Finding, Verdict
from segexport.traps.examination import Examination
from segexport.traps.trap import Trap


def lines(found: Verdict | Examination) -> Iterator[str]:
    """Errors, warnings, and in the end the count of both."""
    return _of_traps(found) if isinstance(found, Examination) else _of_graph(found)


def _of_traps(found: Examination) -> Iterator[str]:
    """A line for each trap, and the code that mends it."""
    for trap in found.traps:
        yield _trap(trap)
        yield from (f"    {line}" for line in trap.code.splitlines())
    counts = f"{_count(found.count('error'), 'error')}, {_count(found.count('warning'), 'warning')}"
    yield f"{found.name} ({found.kind}): {counts}"


def _trap(trap: Trap) -> str:
    return f"{trap.severity:<7} {trap.name}: {trap.where}: {trap.detail}; {trap.why}; fix: {trap.fix}"


def _of_graph(found: Verdict) -> Iterator[str]:
    """A line for each reason, however many nodes share it."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in found.findings:
        groups.setdefault((one.rule, one.operator, one.detail, one.targets), []).append(one)
    for group in groups.values():
        yield _line(group, found)
    counts = (
        f"{target.name} {_count(found.count('error', target), 'error')}, "
        f"{_count(found.count('warning', target), 'warning')}"
        for target in found.targets
    )
    yield f"{found.file}: {'; '.join(counts)}"


def _line(group: list[Finding], found: Verdict) -> str:
    first = group[0]
    where = f"{first.node} ({first.operator})"
    if len(group) > 1:
        where += f" and {len(group) - 1} more"
    only = "" if len(first.targets) == len(found.targets) else f" [{', '.join(first.targets)}]"
    return f"{first.severity:<7} {first.rule}{only}: {where}: {first.detail}; {first.why}; fix: {first.fix}"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"
