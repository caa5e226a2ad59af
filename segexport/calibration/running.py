"""Probes on ONNX Runtime: a session that computes what is written in the order it is written, two images at a time."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import onnx_ir as ir

AT_ONCE = 2
"""Images computed at a time: what one thread computes alone, as reductions do, leaves the others to the other image."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def session(model: ir.Model) -> Any:
    """The model on ONNX Runtime, operator by operator: fusing Q/DQ pairs would compute something else.

    Nodes run in the file's order. By default ONNX Runtime takes whatever leads to the last output first, and holds
    every activation that a reduction is still to read until then.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED  # no node has a priority, so by position
    options.enable_mem_pattern = False  # one block planned for everything is larger than what the arena reuses
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the core is the other image's
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        ir.save(model, path, external_data="probe.data")  # mapped, where one message would be in memory several times
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def in_turn(compute: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What `compute` makes of each item, in their order, `AT_ONCE` at a time while the caller uses what it was given.

    An item is taken when there is room for it, so that neither items nor what was made of them pile up.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting: deque[Future[Found]] = deque()
        for item in items:
            waiting.append(pool.submit(compute, item))
            del item
            if len(waiting) > AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
