"""What the real TensorRT for RTX says, asked in processes of their own, since some graphs end them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JUDGE = Path(__file__).with_name("judge.py")


def verdicts(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """By file name: `taken` (parsed and built), the first `reason`, output `types`, and whether attention is `fused`.

    A file that ends the process counts as refused, and the rest goes on in another.
    """
    found: dict[str, dict[str, Any]] = {}
    waiting = [str(path) for path in files]
    while waiting:
        done = subprocess.run([sys.executable, str(JUDGE), *waiting], capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr[-2000:]
        for asked, said in zip(lines[::2], lines[1::2], strict=False):
            found[Path(asked["file"]).name] = said
        if len(lines) % 2:
            assert done.returncode < 0, done.stderr[-2000:]
            found[Path(lines[-1]["file"]).name] = {"taken": False, "reason": f"died of signal {-done.returncode}"}
        waiting = waiting[(len(lines) + 1) // 2 :]
    return found
