"""What the machine can do at best, in the same run: large matrix products in PyTorch, NumPy and OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.process import Worker, WorkerFailed

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 1024), (4096, 4096, 4096))
"""Sides m, n, k of [m, k] x [k, n]."""
TRIES = 3
"""Products of each shape, at least, after one that warms up; small ones get half a second. The best counts."""

_ENVIRONMENTS = {"torch": "huggingface", "numpy": "huggingface", "openvino": "openvino"}


class Peak:
    """Libraries ready to multiply, asked a few times in a run; a context manager that ends their processes."""

    def __init__(self, precisions: Sequence[str], threads: int, folder: Path) -> None:
        self._precisions, self._threads, self._folder = list(precisions), threads, folder
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}
        self.samples: dict[str, list[dict[str, Any]]] = {library: [] for library in _ENVIRONMENTS}
        """By library, for each time asked: GFLOP/s by precision and shape."""
        self.failed: dict[str, str] = {}
        """Libraries without figures, with the reason."""

    def __enter__(self) -> Peak:
        for library, environment in _ENVIRONMENTS.items():
            request = {
                "do": "open",
                "library": library,
                "precisions": self._precisions,
                "tries": TRIES,
                "threads": self._threads,
            }
            try:
                log = self._folder / f"{library}.log"
                worker = self._stack.enter_context(process.start("products.py", environment, self._threads, log))
                worker.ask(request)
            except (WorkerFailed, OSError) as error:
                self.failed[library] = str(error)
            else:
                self._workers[library] = worker
        return self

    def __exit__(self, *what: object) -> None:
        self._stack.close()

    def measure(self, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> None:
        """Ask every library in turn."""
        for library, worker in list(self._workers.items()):
            try:
                self.samples[library].append(worker.ask(list(shapes))["gflops"])
            except WorkerFailed as error:
                self.failed[library] = str(error)
                del self._workers[library]

    def best(self) -> dict[str, dict[str, Any]]:
        """The best figure of each precision, with the library and the shape it was reached with."""
        found: dict[str, dict[str, Any]] = {}
        for library, samples in self.samples.items():
            for sample in samples:
                for precision, shapes in sample.items():
                    for shape, gflops in shapes.items():
                        if gflops > found.get(precision, {"gflops": 0.0})["gflops"]:
                            found[precision] = {"gflops": gflops, "library": library, "shape": shape}
        return found


def share(macs: int | None, network_seconds: float | None, peak: dict[str, Any] | None) -> float | None:
    """Of the peak: two operations for each multiply-accumulate over the network's time."""
    if macs is None or not network_seconds or peak is None:
        return None
    return 2e-9 * macs / network_seconds / float(peak["gflops"])
