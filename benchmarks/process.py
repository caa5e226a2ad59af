"""The benchmark's side of a worker: start it in its environment, ask it, see it off."""

from __future__ import annotations

import os
import subprocess
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import environments

WORKERS = Path(__file__).parent / "workers"
SETUP_SECONDS = 900
"""For a worker to prepare or to open: exports and compilers take minutes for the largest models."""

CALL_SECONDS = 300


class WorkerFailed(Exception):
    """A worker could not do what it was asked; the message is one line that says why."""


_running: set[subprocess.Popen[bytes]] = set()


def kill_all() -> None:
    """End every worker at once, whoever waits for it."""
    for child in list(_running):
        child.kill()


class Worker:
    """A running script of `workers/`; leaving the block ends it."""

    def __init__(self, script: Path, python: Path, threads: int, log: Path) -> None:
        self._log = log
        self._connection, theirs = Pipe()
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [str(python), str(script), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_variables(threads),
            )
        _running.add(self._child)
        theirs.close()  # or the child's death would not be seen

    def ask(self, message: object, seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """Send a message and wait for its answer.

        Raises:
            WorkerFailed: it answered with an error, died, or took longer than `seconds`.
        """
        try:
            self._connection.send(message)
            if not self._connection.poll(seconds):
                raise WorkerFailed(f"no answer within {seconds:.0f} s")
            answer: dict[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerFailed(self._death()) from None
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def stop(self) -> int:
        """End the worker; its peak memory in bytes."""
        return int(self.ask(None)["peak_memory"])

    def _death(self) -> str:
        status = self._child.wait()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return f"its process died ({how}); its last words: {last[:300]}"

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        _running.discard(self._child)


def start(script: str, environment: str, threads: int, log: Path) -> Worker:
    """A worker of `workers/`, in the environment it belongs to."""
    return Worker(WORKERS / script, environments.python(environment), threads, log)


def prepare(script: str, environment: str, threads: int, log: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run a worker's preparation in a process of its own, so that its memory is not the contender's.

    Raises:
        WorkerFailed: see `Worker.ask`.
    """
    with start(script, environment, threads, log) as worker:
        return worker.ask({**request, "do": "prepare"}, SETUP_SECONDS)


def _variables(threads: int) -> dict[str, str]:
    """The caller's environment with one number of threads for every library, and no model hub."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return {
        **inherited,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        # Compiled kernels hold no weights, so they may stay for the next run.
        "TORCHINDUCTOR_CACHE_DIR": str(environments.FOLDER / "inductor"),
    }
