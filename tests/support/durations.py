"""A plugin of pytest that writes where the time of a run went, so that the next cut is measured: scripts/test has it.

`.pytest_cache/durations.txt` gets the seconds of the slowest files and of the slowest tests, fixtures included.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

SHOWN = 60


def pytest_terminal_summary(terminalreporter: Any) -> None:
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if duration := getattr(report, "duration", 0):
                tests[report.nodeid] += duration
    files: Counter[str] = Counter()
    for name, seconds in tests.items():
        files[name.split("::")[0]] += seconds
    lines = [f"{seconds:8.2f}  {name}" for table in (files, tests) for name, seconds in table.most_common(SHOWN)]
    path = terminalreporter.config.rootpath / ".pytest_cache" / "durations.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    terminalreporter.write_line(f"where the time went: {path.relative_to(terminalreporter.config.rootpath)}")
