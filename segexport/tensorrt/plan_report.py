"""What a plan holds: operations after fusion, the types they compute in, and how many bytes they move.

Names of types are `fp32`, `fp16`, `bf16`, `int8`, `uint8`, `int32`, ...; what TensorRT calls otherwise and is not known
here keeps TensorRT's name. None, and `unknown` where a word is wanted, mean that the plan does not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FP32 = "fp32"
UNKNOWN = "unknown"

HowFp32 = Literal["product", "tensors", "inside"]
"""How an operation is in FP32, the dearest first: it multiplies matrices of FP32; it reads or writes tensors of FP32;
or it only computes in FP32 inside, between tensors of other types, as TensorRT's normalisations and softmaxes do."""

Factors = Literal["weights", "activations"]
"""What a product multiplies activations with."""

BYTES = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "fp4": 0.5,
    "int4": 0.5,
    "int8": 1.0,
    "uint8": 1.0,
    "bool": 1.0,
    "int32": 4.0,
    "int64": 8.0,
}
"""Bytes of one element."""


@dataclass(frozen=True)
class PlanTensor:
    """What an operation reads or writes, or the plan's input or output; an open dimension is -1.

    `name` is that of the memory, which may have had another shape when it was written. `size_bytes` of a tensor with
    open dimensions is what it takes at the profile's largest shapes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    size_bytes: int | None


@dataclass(frozen=True)
class PlanOp:
    """An operation after fusion: usually one kernel.

    `kind` is TensorRT's word: of TensorRT for RTX `corrltn` (a convolution), `fully_connected` (a matrix product),
    `runtime_fusion` (either, with what follows it), `function` (a generated kernel). `nodes` are the ONNX nodes it came
    from, `fp32_nodes` those of them that are in FP32 as `fp32` says. `product` is None for what multiplies no matrices.
    `computes` is the type of a product's factors, or else the widest type inside the kernel. `accumulates` are the
    types that a fused attention sums its two products in, queries with keys and scores with values; None for all else.
    """

    kind: str
    name: str
    nodes: tuple[str, ...]
    inputs: tuple[PlanTensor, ...]
    outputs: tuple[PlanTensor, ...]
    read_bytes: int | None
    written_bytes: int | None
    product: Factors | None
    computes: str
    fp32: HowFp32 | None
    fp32_nodes: tuple[str, ...]
    accumulates: tuple[str, str] | None

    @property
    def moved_bytes(self) -> int | None:
        """Read and written."""
        return None if self.read_bytes is None or self.written_bytes is None else self.read_bytes + self.written_bytes


@dataclass(frozen=True)
class InFp32:
    """ONNX nodes of one module that are in FP32, in a plan that has products of another type."""

    module: str
    nodes: tuple[str, ...]
    how: HowFp32


@dataclass(frozen=True)
class Attention:
    """Attention blocks of a program: those that became one kernel, and all of them, if that can be told.

    `accumulates` are the different pairs of types that fused products are summed in (see `PlanOp`).
    """

    fused: int
    blocks: int | None
    accumulates: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Program:
    """What runs for one profile.

    `traffic_bytes` is the sum of what all operations read and write, weights included, scratch left out: an estimate
    of what moves if no cache helps. An input that an operation names twice counts twice. `scratch_bytes` is the device
    memory for activations and workspaces that the program declares. Both are for the profile's largest shapes. `fp32`
    is empty where nothing is in a lower precision.
    """

    profile: int
    targets: tuple[str, ...]
    tf32: bool | None
    scratch_bytes: int | None
    traffic_bytes: int | None
    kinds: dict[str, int]
    products: dict[str, int]
    attention: Attention
    fp32: tuple[InFp32, ...]
    ops: tuple[PlanOp, ...]


@dataclass(frozen=True)
class Shapes:
    """Least, best and largest shape of an input in one profile."""

    profile: int
    input: str
    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


@dataclass(frozen=True)
class PlanReport:
    """What was found in one plan. `notes` say what could not be read.

    `later_targets`: whether GPUs newer than all targets may run it.
    """

    file: str
    size_bytes: int | None
    engine: Literal["tensorrt-rtx", "tensorrt"]
    version: str
    targets: tuple[str, ...]
    later_targets: bool | None
    weights_bytes: int | None
    inputs: tuple[PlanTensor, ...]
    outputs: tuple[PlanTensor, ...]
    profiles: tuple[Shapes, ...] | None
    programs: tuple[Program, ...]
    notes: tuple[str, ...]
