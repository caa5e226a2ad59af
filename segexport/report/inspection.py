"""What `segexport inspect` says on the terminal: a few lines and a table for each graph."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.table import Table

from segexport.inspection import Inspection, Tensor
from segexport.report.summary import contract_line, rewrite_lines
from segexport.spec import DYNAMIC


def lines(found: Inspection) -> Iterator[str]:
    """Everything but the table of stages."""
    yield f"file       {found.file} ({found.size_bytes / 1e6:.1f} MB, opset {found.opset or '?'}, by {found.producer})"
    if found.facts is None:
        for what, tensors in (("input", found.inputs), ("output", found.outputs)):
            for tensor in tensors:
                yield f"{what:<10} {_tensor(tensor)}"
        yield "contract   none: not written by segexport"
    else:
        source = found.facts.source
        random = ", random weights" if source.random_weights else ""
        yield f"contract   {contract_line(found.facts.contract)}"
        if tuple(tensor.name for tensor in found.outputs) != found.facts.contract.outputs:
            # A graph for one engine may leave the last step to the program that runs it.
            yield from (f"output     {_tensor(tensor)}" for tensor in found.outputs)
        yield f"classes    {len(found.facts.labels)}"
        yield f"weights    {source.id}{'@' + source.revision if source.revision else ''}{random}"
        yield from rewrite_lines(found.facts.rewrites)
        if not found.facts.rewrites:
            yield "rewrite    none recorded"
    yield f"parameters {found.parameters:,} in {found.parameter_bytes / 1e6:.1f} MB"
    yield f"operators  {', '.join(f'{name} {count}' for name, count in found.operators.items())}"
    for node in found.uncounted:
        yield f"uncounted  {node.operator} {node.node}: {node.reason}"


def table(found: Inspection) -> Table:
    """Nodes and GMACs of each part of the network, and their sum."""
    total = found.multiply_accumulates
    digits = 2 if total >= 1e9 else 4
    drawn = Table(title=f"GMACs {_per(found)}", title_justify="left", box=SIMPLE)
    drawn.add_column("")
    for column in ("nodes", "GMACs", "share %"):
        drawn.add_column(column, justify="right")
    for stage in found.stages:
        share = f"{stage.multiply_accumulates / total:.1%}".removesuffix("%") if total else "-"
        drawn.add_row(stage.name, str(stage.nodes), f"{stage.multiply_accumulates / 1e9:.{digits}f}", share)
    drawn.add_section()
    # A sum that something is missing from must not be read as the whole.
    mark = " (without the uncounted)" if found.uncounted else ""
    nodes = sum(stage.nodes for stage in found.stages)
    drawn.add_row(f"total{mark}", str(nodes), f"{total / 1e9:.{digits}f}", "100.0" if total else "-")
    return drawn


def _per(found: Inspection) -> str:
    if found.open_batch:
        return "per image (the batch is open)"
    if found.facts is None:
        return "per call"
    batch = found.facts.contract.batch
    assert batch != DYNAMIC
    return "per image" if batch == 1 else f"per call of {batch} images"


def _tensor(tensor: Tensor) -> str:
    shape = "of unknown shape" if tensor.shape is None else f"[{', '.join(map(str, tensor.shape))}]"
    return f"{tensor.name} {tensor.dtype} {shape}"
