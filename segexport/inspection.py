"""What an ONNX file is: contract and rewrites where segexport wrote it, operators, parameters, and GMACs by stage.

Works on any ONNX file with onnx_ir alone: no engine is asked, and of the weights only shapes are read. Plans of
TensorRT for RTX are read by `segexport.tensorrt.plan`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from segexport.bundle import PLAN, open_bundle
from segexport.errors import DataError
from segexport.graph import macs
from segexport.graph.graph import is_ours, read_facts
from segexport.graph.load import load_model
from segexport.segformer import names
from segexport.spec import Contract, Labels, PassResult, Preprocessing, Source, to_json
from segexport.tensorrt.inspecting import ask_inspector
from segexport.tensorrt.plan import is_plan, of_classic, read_plan
from segexport.tensorrt.plan_report import PlanReport

SCHEMA = 1
Kind = Literal["onnx", "plan"]
STAGES = ("preprocess", *(f"stage {i}" for i in range(1, 5)), "decode head", "classifier", "postprocess", "other")
"""The parts of a SegFormer in the order they run; `other` is what carries none of the names known here."""

_OUTER = {
    "preprocess": "preprocess",
    names.DECODE_HEAD: "decode head",
    names.CLASSIFIER: "classifier",
    "postprocess": "postprocess",
}
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Stage:
    """A part of the network: its nodes, and the multiply-accumulates of those that could be counted."""

    name: str
    nodes: int
    multiply_accumulates: int


@dataclass(frozen=True)
class Uncounted:
    """A node that multiplies, or may, and is in no sum."""

    node: str
    operator: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """What segexport writes into its graphs' metadata."""

    contract: Contract
    preprocessing: Preprocessing
    labels: Labels
    source: Source
    rewrites: tuple[PassResult, ...]


@dataclass(frozen=True)
class Tensor:
    """An input or output of the graph; dimensions are numbers, names, or `?`. No shape at all is None."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Inspection:
    """What was found in one file. `facts` is None where another program wrote it.

    `parameters` are the numbers in the network's weights as the graph stores them, each stored tensor once (see
    `_weights`); `parameter_bytes` is their size. `open_batch`: figures are for one image of a batch of any size.
    """

    file: str
    size_bytes: int
    producer: str
    opset: int | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    facts: Facts | None
    operators: dict[str, int]
    parameters: int
    parameter_bytes: int
    stages: tuple[Stage, ...]
    uncounted: tuple[Uncounted, ...]
    open_batch: bool

    @property
    def multiply_accumulates(self) -> int:
        """Of the whole graph, `uncounted` left out."""
        return sum(stage.multiply_accumulates for stage in self.stages)


def inspect_path(path: str | Path, kind: Kind | None = None) -> tuple[Inspection | PlanReport, ...]:
    """Inspect an ONNX file, a plan, or every graph at the top of a bundle, the portable one first, and its plan.

    Args:
        path: a file or a bundle's folder.
        kind: take a file for this, and of a bundle only these; by default a file's first bytes tell.

    Raises:
        DataError: no such file, neither ONNX nor a plan, a plan of classic TensorRT without its GPU, or a bundle
            without a plan where one is asked for.
        BundleCorrupt: a folder that is no bundle, or not what was built.
    """
    path = Path(path)
    if not path.is_dir():
        return (_inspect_one(path, kind),)
    first = open_bundle(path).model
    plan = path / PLAN
    if kind == "plan" and not plan.is_file():
        raise DataError(f"{path} has no {PLAN}: pass a bundle that was built for TensorRT, or leave out --as plan")
    graphs = () if kind == "plan" else (first, *sorted(p for p in path.glob("*.onnx") if p != first))
    plans = (ask_inspector(plan) or of_classic(plan) or read_plan(plan),) if kind != "onnx" and plan.is_file() else ()
    return (*map(inspect_file, graphs), *plans)


def _inspect_one(path: Path, kind: Kind | None) -> Inspection | PlanReport:
    if kind is None and path.is_file():
        # What is neither is refused by what its name says it is.
        kind = "plan" if is_plan(path) or path.suffix in (".plan", ".engine", ".trt") else "onnx"
    if kind == "plan":
        return ask_inspector(path) or read_plan(path)
    return inspect_file(path)


def inspect_file(path: str | Path) -> Inspection:
    """Inspect one ONNX file, whoever wrote it. External data need not be there.

    Raises:
        DataError: no such file, or not ONNX.
        BundleCorrupt: its metadata are segexport's and damaged.
    """
    path = Path(path)
    model = load_model(path)
    graph = model.graph
    stages, uncounted = _stages(model)
    weights = _weights(graph)
    return Inspection(
        file=str(path),
        size_bytes=path.stat().st_size,
        producer=f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip(),
        opset=model.opset_imports.get("", model.opset_imports.get("ai.onnx")),
        inputs=tuple(_tensor(value) for value in graph.inputs if value.const_value is None),
        outputs=tuple(map(_tensor, graph.outputs)),
        facts=Facts(**read_facts(model, path)) if is_ours(model) else None,
        operators=dict(Counter(map(_operator, graph.all_nodes())).most_common()),
        parameters=sum(tensor.size for tensor in weights),
        parameter_bytes=sum(tensor.nbytes for tensor in weights),
        stages=stages,
        uncounted=uncounted,
        open_batch=macs.has_open_batch(model),
    )


def as_json(found: Iterable[Inspection | PlanReport]) -> dict[str, Any]:
    """Plain values for `inspect --json`: every field of each graph, with its `multiply_accumulates`, and each plan."""
    graphs, plans = [], []
    for one in found:
        if isinstance(one, PlanReport):
            plans.append(to_json(one))
        else:
            graphs.append({**to_json(one), "multiply_accumulates": one.multiply_accumulates})
    return {"schema": SCHEMA, "graphs": graphs, "plans": plans}


def multiply_accumulates(model: ir.Model | str | Path) -> int:
    """Multiply-accumulates of one execution of a graph: the products that Conv, MatMul and Gemm sum up.

    An open batch counts as 1, any other as what it is. Nodes that cannot be counted are left out, such as those
    whose shapes depend on the data: `inspect_file(...).uncounted` names them.

    Raises:
        DataError: the file is missing or not ONNX.
    """
    loaded = model if isinstance(model, ir.Model) else load_model(Path(model))
    return sum(found for _, found in macs.of_nodes(loaded) if isinstance(found, int))


def stage_of(node: str) -> str:
    """Which of `STAGES` a node's name says it belongs to.

    Module scopes as torch's exporters write them: joined by dots, or by slashes (`/segformer/encoder/block.0.0/...`).
    """
    scope = node.strip("/").replace("/", ".")
    if (found := names.stage_in(scope)) is not None:
        name = f"stage {found + 1}"
        return name if name in STAGES else "other"
    return _OUTER.get(scope.partition(".")[0], "other")


def _stages(model: ir.Model) -> tuple[tuple[Stage, ...], tuple[Uncounted, ...]]:
    nodes: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    uncounted = []
    for node, found in macs.of_nodes(model):
        stage = stage_of(node.name or "")
        nodes[stage] += 1
        if isinstance(found, int):
            sums[stage] += found
        else:
            uncounted.append(Uncounted(node.name or "(no name)", _operator(node), found))
    return tuple(Stage(name, nodes[name], sums[name]) for name in STAGES if nodes[name]), tuple(uncounted)


def _weights(graph: ir.Graph) -> list[ir.TensorProtocol]:
    """The constants that are a network's parameters, each once.

    Those are floating-point tensors of one dimension or more, and whatever a DequantizeLinear makes floating-point.
    Not: scalars, shapes and indices, the constants of pre- and post-processing, the scales of Resize and of
    quantisation.
    """
    found: dict[ir.Value, ir.TensorProtocol] = {}
    for node, index, value in _reads(graph):
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is None or len(tensor.shape) == 0:
            continue
        if stage_of(node.name or "") in ("preprocess", "postprocess") or node.op_type == "Resize":
            continue
        quantized = node.op_type == "DequantizeLinear" and index == 0
        if quantized or (tensor.dtype.is_floating_point() and not (node.op_type in _QUANTIZERS and index > 0)):
            found[value] = tensor
    return list(found.values())


def _reads(graph: ir.Graph) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    for node in graph.all_nodes():
        for index, value in enumerate(node.inputs):
            if value is not None:
                yield node, index, value


def _operator(node: ir.Node) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _tensor(value: ir.Value) -> Tensor:
    shape = None if value.shape is None else tuple(side or "?" for side in macs.dims(value.shape))
    return Tensor(value.name or "", str(value.dtype).lower() if value.dtype is not None else "unknown", shape)
