"""What `segexport inspect` says of a plan on the terminal: a few lines, and three tables for each program."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from segexport.tensorrt.plan_report import FP32, HowFp32, PlanOp, PlanReport, PlanTensor, Program

_TITLES = {"tensorrt-rtx": "TensorRT for RTX", "tensorrt": "TensorRT"}
_KINDS = {
    "corrltn": "convolution",
    "fully_connected": "matrix product",
    "runtime_fusion": "product and what follows",
    "function": "generated kernel",
    "runtime_function": "generated kernel",
}
"""What the words of TensorRT for RTX stand for."""

_HOW: dict[HowFp32, str] = {"product": "multiplies", "tensors": "FP32 tensors", "inside": "inside"}
_HOW_MANY: dict[HowFp32, str] = {
    "product": "multiply in FP32",
    "tensors": "read or write it",
    "inside": "use it inside",
}
_TOP = 10
_NODES = 3


def parts(found: PlanReport) -> Iterator[Table | str]:
    """The plan, then each of its programs."""
    yield from _lines(found)
    for program in found.programs:
        yield from _program_lines(program, many=len(found.programs) > 1)
        yield _table("operations by kind", ("kind", "", "computes in"), ("operations", "MB"), _kinds(program))
        if program.fp32:
            yield _table("what stayed in FP32", ("module", "nodes", "how"), ("places",), _stayed(program))
        columns = ("operation", "ONNX nodes")
        yield _table("most bytes read and written", columns, ("MB", "share %"), _most_traffic(program))


def _lines(found: PlanReport) -> Iterator[str]:
    written = f"{_TITLES[found.engine]} {found.version}"
    yield f"file       {found.file} ({_mb(found.size_bytes)}, {written})"
    for what, tensors in (("input", found.inputs), ("output", found.outputs)):
        yield from (f"{what:<10} {_tensor(tensor)}" for tensor in tensors)
    later = ", and later GPUs" if found.later_targets else ""
    yield f"targets    {', '.join(found.targets) or 'unknown'}{later}"
    yield f"weights    {_mb(found.weights_bytes)}"
    for shapes in found.profiles or ():
        sizes = ", ".join(
            f"{word} {_shape(shape)}"
            for word, shape in zip(("least", "best", "most"), (shapes.least, shapes.best, shapes.most), strict=True)
        )
        yield f"profile {shapes.profile:<2} {shapes.input} {sizes}"
    yield from (f"note       {note}" for note in found.notes)


def _program_lines(program: Program, *, many: bool) -> Iterator[str]:
    if many:
        yield f"program    of profile {program.profile}"
    products = ", ".join(f"{dtype} {count}" for dtype, count in program.products.items()) or "none"
    tf32 = ", TF32 allowed" if program.tf32 and FP32 in program.products else ""
    yield f"operations {len(program.ops)}"
    yield f"products   {products}{tf32}"
    yield f"attention  {_attention(program)}"
    yield f"traffic    {_mb(program.traffic_bytes)} read and written by all operations"
    yield f"scratch    {_mb(program.scratch_bytes)}"
    yield f"fp32       {_fp32(program)}"


def _attention(program: Program) -> str:
    found = program.attention
    if found.blocks == 0:
        return "no blocks"
    blocks = "an unknown number of" if found.blocks is None else str(found.blocks)
    sums = " or ".join(f"queries x keys in {first}, scores x values in {then}" for first, then in found.accumulates)
    return f"{found.fused} of {blocks} blocks fused" + (f", summing {sums}" if sums else "")


def _fp32(program: Program) -> str:
    if not program.fp32:
        lower = any(dtype != FP32 for dtype in program.products)
        return "nothing" if lower else "all products" if program.products else "unknown: no products found"
    counts = Counter({how: 0 for how in _HOW_MANY})
    for one in program.fp32:
        counts[one.how] += len(one.nodes)
    return "nodes that " + ", ".join(f"{_HOW_MANY[how]} {count}" for how, count in counts.items())


def _kinds(program: Program) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[str, str, str], list[PlanOp]] = {}
    for op in program.ops:
        what = "fused attention" if op.accumulates else _KINDS.get(op.kind, "")
        groups.setdefault((op.kind, what, op.computes), []).append(op)
    for key, ops in sorted(groups.items(), key=lambda entry: -len(entry[1])):
        moved = [op.moved_bytes for op in ops]
        total = None if None in moved else sum(size for size in moved if size is not None)
        yield (*key, str(len(ops)), _number(total))


def _stayed(program: Program) -> Iterator[tuple[str, ...]]:
    """A row for modules that differ in numbers only."""
    rows: dict[tuple[str, str, str], int] = {}
    for one in program.fp32:
        kinds = dict.fromkeys(_operator(node) for node in one.nodes)
        shown = ", ".join([*kinds][:_NODES]) + (", ..." if len(kinds) > _NODES else "")
        key = (re.sub(r"(?<=\.)\d+(?=\.|$)", "*", one.module), shown, _HOW[one.how])
        rows[key] = rows.get(key, 0) + 1
    for (module, nodes, how), places in rows.items():
        yield module, nodes, how, str(places)


def _operator(node: str) -> str:
    """`Softmax` of `segformer.stages.0.blocks.0.attention/Softmax:val_47`."""
    leaf = node.rpartition("/")[2].partition(":")[0]
    return re.sub(r"_\d+$", "", leaf)


def _most_traffic(program: Program) -> Iterator[tuple[str, ...]]:
    sized = [(op.moved_bytes, op) for op in program.ops if op.moved_bytes is not None]
    total = program.traffic_bytes
    for moved, op in sorted(sized, key=lambda entry: -entry[0])[:_TOP]:
        first = op.nodes[0] if op.nodes else op.name
        more = f" and {len(op.nodes) - 1} more" if len(op.nodes) > 1 else ""
        name = "fused attention" if op.accumulates else _KINDS.get(op.kind, op.kind)
        yield name, f"{first}{more}", _number(moved), f"{moved / total:.1%}".removesuffix("%") if total else "-"


def _table(title: str, words: Iterable[str], figures: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    drawn = Table(title=title, title_justify="left", box=SIMPLE)
    for column in words:
        drawn.add_column(column, overflow="fold")
    for column in figures:
        drawn.add_column(column, justify="right")
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def _tensor(tensor: PlanTensor) -> str:
    return f"{tensor.name} {tensor.dtype} {_shape(tensor.shape)}"


def _shape(shape: Iterable[int]) -> str:
    return f"[{', '.join('?' if side < 0 else str(side) for side in shape)}]"


def _mb(size: int | None) -> str:
    return "unknown" if size is None else f"{_number(size)} MB"


def _number(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f}"
