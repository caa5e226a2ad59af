"""What the operations of a program show together: its attention blocks, and what stayed in FP32."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from segexport.tensorrt.plan_report import FP32, UNKNOWN, Attention, HowFp32, InFp32, PlanOp, Program

_MOVES = re.compile(
    r"(?:Reshape|Transpose|Cast|Identity|Squeeze|Unsqueeze|Flatten|Expand|Slice|Split|Concat|Shape|Gather|to_fp16"
    r"|QuantizeLinear|DequantizeLinear)(?![A-Za-z])"
)
"""Nodes that compute nothing: to be in one kernel with FP32 arithmetic says nothing about them."""
_SOFTMAX = re.compile(r"Max\w*Exp\w*Sum")
_HOW: tuple[HowFp32, ...] = ("product", "tensors", "inside")


def program(
    ops: Sequence[PlanOp],
    *,
    profile: int,
    targets: tuple[str, ...] = (),
    tf32: bool | None = None,
    scratch_bytes: int | None = None,
) -> Program:
    """A program of these operations, with all that follows from them."""
    moved = [op.moved_bytes for op in ops]
    return Program(
        profile=profile,
        targets=targets,
        tf32=tf32,
        scratch_bytes=scratch_bytes,
        traffic_bytes=None if None in moved else sum(size for size in moved if size is not None),
        kinds=dict(Counter(op.kind for op in ops).most_common()),
        products=dict(Counter(op.computes for op in ops if op.product).most_common()),
        attention=attention(ops),
        fp32=stayed_in_fp32(ops),
        ops=tuple(ops),
    )


def stayed_in_fp32(ops: Sequence[PlanOp]) -> tuple[InFp32, ...]:
    """Modules with nodes in FP32, the dearest way first; empty where no product is known to be of another type.

    A node whose product is of another type is not named for what is done around it in another operation.
    """
    if all(op.computes in (FP32, UNKNOWN) for op in ops if op.product):
        return ()
    lower = {node for op in ops if op.product and op.computes != FP32 for node in op.nodes}
    found: dict[tuple[HowFp32, str], dict[str, None]] = {}
    for op in ops:
        if op.fp32 is None:
            continue
        computing = [node for node in op.fp32_nodes if not _MOVES.match(_leaf(node))]
        nodes = [node for node in computing if op.product or node not in lower]
        for node in nodes or (() if computing else op.fp32_nodes or (op.name,)):
            found.setdefault((op.fp32, module_of(node)), {})[node] = None
    ordered = sorted(found.items(), key=lambda entry: _HOW.index(entry[0][0]))
    return tuple(InFp32(module, tuple(nodes), how) for (how, module), nodes in ordered)


def module_of(node: str) -> str:
    """The module that a node's name says it comes from: all before its last slash."""
    return node.rpartition("/")[0] or node


def attention(ops: Sequence[PlanOp]) -> Attention:
    """Count blocks: one kernel each, or a softmax between two products of activations.

    Where products of activations are left over, somebody's attention may be hidden, and the count is None.
    """
    fused = [op for op in ops if op.accumulates is not None]
    flow = _Flow(ops)
    blocks: set[str] = set()
    used: set[int] = set()
    for op in ops:
        if op.accumulates is not None or not _has_softmax(op):
            continue
        before, behind = flow.products(op, forward=False), flow.products(op, forward=True)
        if before and behind:
            softmaxes = [node for node in op.nodes if _is_softmax(node)]
            blocks.add(softmaxes[0] if softmaxes else str(id(op)))
            used.update(map(id, before + behind))
    left_over = [op for op in ops if op.product == "activations" and op.accumulates is None and id(op) not in used]
    return Attention(
        fused=len(fused),
        blocks=None if left_over else len(fused) + len(blocks),
        accumulates=tuple(dict.fromkeys(op.accumulates for op in fused if op.accumulates is not None)),
    )


def _has_softmax(op: PlanOp) -> bool:
    return bool(_SOFTMAX.search(op.name)) or any(map(_is_softmax, op.nodes))


def _is_softmax(node: str) -> bool:
    return "softmax" in _leaf(node).partition(":")[0].lower()


def _leaf(node: str) -> str:
    return node.rpartition("/")[2]


class _Flow:
    """Who writes and who reads a tensor."""

    def __init__(self, ops: Iterable[PlanOp]) -> None:
        self._writers: dict[str, list[PlanOp]] = {}
        self._readers: dict[str, list[PlanOp]] = {}
        for op in ops:
            for tensor in op.outputs:
                self._writers.setdefault(tensor.name, []).append(op)
            for tensor in op.inputs:
                self._readers.setdefault(tensor.name, []).append(op)

    def products(self, start: PlanOp, *, forward: bool) -> list[PlanOp]:
        """The nearest products of activations in one direction, with no other product between; `start` if it is one."""
        if start.product == "activations":
            return [start]
        found, seen, ahead = [], {id(start)}, [start]
        while ahead:
            for other in self._next(ahead.pop(), forward=forward):
                if id(other) in seen:
                    continue
                seen.add(id(other))
                if other.product == "activations" and other.accumulates is None:
                    found.append(other)
                elif other.product is None:
                    ahead.append(other)
        return found

    def _next(self, op: PlanOp, *, forward: bool) -> Iterable[PlanOp]:
        users = self._readers if forward else self._writers
        return (
            other
            for tensor in (op.outputs if forward else op.inputs)
            if not tensor.constant
            for other in users.get(tensor.name, ())
        )
