"""From a program's text to its operations: what each reads and writes, and the types it computes in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from segexport.tensorrt.plan_file import Kernel
from segexport.tensorrt.plan_report import FP32, UNKNOWN, Factors, HowFp32, PlanOp, PlanTensor
from segexport.tensorrt.plan_shapes import elements_of, size_of
from segexport.tensorrt.plan_text import Statement, Tensor, Text, layers_of

PRODUCTS = ("corrltn", "fully_connected")
"""Kinds that multiply: convolutions and matrix products."""

_TYPES = {"float": "fp32", "half": "fp16"}
_WIDEST = ("fp32", "bf16", "fp16", "fp8", "int8")
_IN_CUDA = re.compile(r"__myln_(float|half|bf16|fp8)\b")
_ATTENTION = re.compile(r"(?:^|_)f?mha(?:_|$)")


def is_attention(kernel: str) -> bool:
    """Whether a kernel's name is that of fused multi-head attention, such as `_gemm_mha_v2`."""
    return bool(_ATTENTION.search(kernel))


def type_of(tensor: Tensor | None) -> str:
    """Our name of a tensor's type."""
    return UNKNOWN if tensor is None else _TYPES.get(tensor.dtype, tensor.dtype)


def widest(types: Iterable[str]) -> str:
    """The widest floating-point type among some, or else any of them."""
    types = set(types)
    return next((one for one in _WIDEST if one in types), min(types, default=UNKNOWN))


def added(sizes: Iterable[int | None]) -> int | None:
    """A sum; None where something is missing from it."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


@dataclass(frozen=True)
class Context:
    """What a program's statements refer to: its tensors, the programs inside it, kernels, and open dimensions."""

    text: Text
    inner: tuple[Text, ...]
    kernels: Mapping[str, Kernel]
    known: Mapping[str, int]

    def tensor(self, name: str) -> PlanTensor:
        """A tensor as an operation sees it, under the name of the memory it is in."""
        tensor = self.text.tensors.get(name)
        if tensor is None:
            return PlanTensor(name, UNKNOWN, (), False, None)
        shape = tuple(side if isinstance(side, int) else -1 for side in tensor.dims)
        size = size_of(tensor, type_of(tensor), self.known)
        return PlanTensor(tensor.base or name, type_of(tensor), shape, self.is_constant(name), size)

    def is_constant(self, name: str) -> bool:
        """Whether it holds weights or other constants."""
        tensor = self.text.tensors.get(name)
        if tensor is not None and tensor.base is not None:
            tensor = self.text.tensors.get(tensor.base, tensor)
        return tensor is not None and tensor.constant

    def moves_fp32(self, names: Iterable[str]) -> bool:
        """Whether one is in FP32, scalars and constants left out."""
        return any(
            type_of(tensor) == FP32 and elements_of(tensor.dims, self.known) != 1 and not self.is_constant(name)
            for name in names
            if (tensor := self.text.tensors.get(name)) is not None
        )


def operation(statement: Statement, context: Context) -> PlanOp:
    """One statement of a program."""
    name, nodes = statement.text("name"), layers_of(statement.text("layers"))
    kernel = context.kernels.get(statement.text("fqn"))
    reads, writes = _reads(statement), statement.names("output_args", "output")
    inputs, outputs = tuple(map(context.tensor, reads)), tuple(map(context.tensor, writes))
    fused_attention, inner = is_attention(name), _inner(statement, context)
    product: Factors | None = None
    if fused_attention:
        product, computes = "activations", widest(tensor.dtype for tensor in inputs)
    elif (factors := _factors(statement, inner, context)) is not None:
        product = "weights" if any(constant for _, constant in factors) else "activations"
        types = {dtype for dtype, _ in factors}
        computes = types.pop() if len(types) == 1 else UNKNOWN
    elif kernel is not None and (inside := _IN_CUDA.findall(kernel.body)):
        computes = widest(_TYPES.get(one, one) for one in inside)
    else:
        computes = widest(tensor.dtype for tensor in inputs + outputs if not tensor.constant)
    how, fp32_nodes = _fp32(product, computes, nodes, inner, context.moves_fp32((*reads, *writes)))
    return PlanOp(
        kind=statement.kind,
        name=name,
        nodes=nodes,
        inputs=inputs,
        outputs=outputs,
        read_bytes=added(tensor.size_bytes for tensor in inputs),
        written_bytes=added(tensor.size_bytes for tensor in outputs),
        product=product,
        computes=computes,
        fp32=how,
        fp32_nodes=fp32_nodes,
        accumulates=_accumulates(kernel) if fused_attention else None,
    )


def _reads(statement: Statement) -> list[str]:
    """Tensors that are read; not the integers that a kernel of open dimensions is given."""
    reads, integers = statement.names("input_args", "input"), statement.text("shape_args_count")
    return reads[: -int(integers)] if integers.isdecimal() and int(integers) else reads


def _inner(statement: Statement, context: Context) -> Text | None:
    """The program inside a `runtime_fusion`."""
    index = statement.text("binary")
    found = statement.kind == "runtime_fusion" and index.isdecimal() and int(index) < len(context.inner)
    return context.inner[int(index)] if found else None


def _factors(statement: Statement, inner: Text | None, context: Context) -> list[tuple[str, bool]] | None:
    """The two factors of a product, each with its type and whether it is a constant; None for no product."""
    text = context.text if inner is None else inner
    if inner is not None:
        statement = next((one for one in inner.main if one.kind in PRODUCTS), statement)
    if statement.kind not in PRODUCTS:
        return None
    # What the whole program has as a constant is an input of the program inside it, and under the same name.
    names = statement.names("input")[:2]
    return [(type_of(text.tensors.get(name)), context.is_constant(name)) for name in names]


def _fp32(
    product: Factors | None, computes: str, nodes: tuple[str, ...], inner: Text | None, moves: bool
) -> tuple[HowFp32 | None, tuple[str, ...]]:
    """How an operation is in FP32, and which of its nodes are: of a `runtime_fusion`, those that make FP32 in it."""
    if inner is not None:
        inside = [one for one in inner.main if any(_is_fp32(inner, name) for name in one.names("output"))]
        behind = [one for one in inside if one.kind not in PRODUCTS]
        inner_nodes = tuple(dict.fromkeys(node for one in inside for node in layers_of(one.text("layers"))))
        if inside and (moves or behind or computes == FP32):
            return ("product" if computes == FP32 else "tensors" if moves else "inside"), inner_nodes
    if product is not None and computes == FP32:
        return "product", nodes
    if moves:
        return "tensors", nodes
    return ("inside", nodes) if computes == FP32 else (None, ())


def _is_fp32(text: Text, name: str) -> bool:
    return type_of(text.tensors.get(name)) == FP32


def _accumulates(kernel: Kernel | None) -> tuple[str, str]:
    found = kernel.accumulates if kernel is not None else None
    return (found[0], found[1]) if found is not None and len(found) == 2 else (UNKNOWN, UNKNOWN)
