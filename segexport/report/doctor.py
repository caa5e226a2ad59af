"""What `segexport doctor` says on the terminal: a line for each reason, however many nodes share it, and a summary."""

from __future__ import annotations

from collections.abc import Iterator

from segexport.lint import Finding, Verdict


def lines(found: Verdict) -> Iterator[str]:
    """Errors, warnings, and in the end the count of both for each target."""
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
