"""ONNX file -> plan file, in a process of its own (`segexport.tensorrt.worker`)."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from segexport import errors
from segexport.errors import EngineUnavailable, SegexportError, UnsupportedOnTarget
from segexport.files import write_failed
from segexport.tensorrt.flavour import Flavour
from segexport.tensorrt.options import Profile, TensorRtOptions

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine: name, TensorRT's name of its dtype, dimensions (-1 where open)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Compiled:
    """What came of a build."""

    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def compile_plan(
    flavour: Flavour,
    onnx: Path,
    plan: Path,
    *,
    options: TensorRtOptions,
    profiles: Sequence[Profile] = (),
    timing_cache: Path | None = None,
    progress: Progress = lambda step: None,
) -> Compiled:
    """Build an engine.

    Args:
        flavour: which TensorRT.
        onnx: the graph, strongly typed.
        plan: the file to write.
        options: how; see `segexport.tensorrt.options.require_possible`.
        profiles: for a graph with open dimensions.
        timing_cache: classic TensorRT's timings, read if there and written.
        progress: told what the builder is at.

    Raises:
        UnsupportedOnTarget: the parser or the builder refuses the graph, or dies of it.
        EngineUnavailable: TensorRT is missing, or the GPU that it builds on.
        OutputError: the plan cannot be written.
    """
    request = {
        "engine": flavour.engine,
        "onnx": str(onnx),
        "plan": str(plan),
        "options": dataclasses.asdict(options),
        "profiles": [[one.least, one.best, one.most] for one in profiles],
        "timing_cache": None if timing_cache is None else str(timing_cache),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        with subprocess.Popen(
            [sys.executable, "-m", "segexport.tensorrt.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
        ) as worker:
            try:
                answer = _converse(worker, request, progress)
            except BaseException:  # Ctrl-C above all
                worker.kill()
                raise
        if answer is None:
            raise UnsupportedOnTarget(_death(flavour, worker.returncode, said))
    if "error" in answer:
        raise _error(answer, plan)
    built = answer["built"]
    tensors = [Tensor(name, dtype, tuple(shape)) for name, dtype, shape in built["tensors"]]
    return Compiled(built["version"], tuple(tensors[: built["inputs"]]), tuple(tensors[built["inputs"] :]))


def _converse(worker: subprocess.Popen[str], request: dict[str, Any], progress: Progress) -> dict[str, Any] | None:
    """The worker's last word, or None if it died without one."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(request))
        worker.stdin.close()
    except BrokenPipeError:
        worker.wait()
        return None
    for line in worker.stdout:
        message: dict[str, Any] = json.loads(line)
        if "step" not in message:
            return message
        progress(f"TensorRT builds: {message['step'].lower()}, {message['done']} of {message['total']}")
    worker.wait()
    return None


def _error(answer: dict[str, Any], plan: Path) -> SegexportError:
    if answer["kind"] == "OSError":
        return write_failed(plan, OSError(answer["errno"], answer["error"]))
    kind: type[SegexportError] = getattr(errors, answer["kind"], EngineUnavailable)
    return kind(answer["error"])


def _death(flavour: Flavour, code: int, said: IO[str]) -> str:
    """What to say of a worker that gave no answer."""
    said.seek(0)
    last = [line.strip() for line in said if line.strip()][-1:]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    more = f" ({last[0][:300]})" if last else ""
    return (
        f"{flavour.title}'s builder {how}{more}: the graph or an option breaks it, or memory ran out; check the graph "
        "with segexport doctor --target, or pass a smaller --workspace"
    )
