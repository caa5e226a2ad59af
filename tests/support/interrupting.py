"""Ctrl-C as a terminal sends it: to a command and to all processes that it has started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.cli import Outcome


def segexport_interrupted(
    arguments: tuple[object, ...], at: str, folder: Path, when: Callable[[], bool] = lambda: True
) -> Outcome:
    """Run `segexport` in `folder`; send Ctrl-C once a line of its standard error matches `at` and `when()` is so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "segexport", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    try:
        with process.stdout, process.stderr:
            for line in process.stderr:
                lines.append(line)
                if at and re.search(at, line):
                    while not when() and process.poll() is None:
                        time.sleep(0.001)
                    os.killpg(process.pid, signal.SIGINT)
                    at = ""
            out = process.stdout.read()
        code = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert not at, f"it was never at {at}: {''.join(lines)}"
    return Outcome(code, out, "".join(lines))
