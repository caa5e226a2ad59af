"""The report of a plan from what classic TensorRT's EngineInspector says of an engine; that needs the engine's GPU.

The text is that of `get_engine_information(LayerInformationFormat.JSON)` of an engine built with
`ProfilingVerbosity.DETAILED`:

    {"Layers": [{"Name": "...", "LayerType": "gemm", "TacticName": "sm80_xmma_gemm_...",
                 "Metadata": "[ONNX Layer: ...]",
                 "Inputs": [{"Name": "...", "Dimensions": [1, 64, 32], "Format/Datatype": "Half"}], "Outputs": [...]}],
     "Bindings": ["image", "mask"]}

Sources: NVIDIA's guide, "Engine Inspector" (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/
engine-tools.html), and published outputs of 8.x to 10.x. Not run here: tested on texts in that form, never on an engine
of ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from segexport.errors import DataError
from segexport.tensorrt.plan_findings import program
from segexport.tensorrt.plan_ops import added, is_attention, widest
from segexport.tensorrt.plan_report import BYTES, FP32, UNKNOWN, Factors, HowFp32, PlanOp, PlanReport, PlanTensor
from segexport.tensorrt.plan_text import layers_of

_TYPES = (
    ("fp16", r"half|fp16|float16"),
    ("bf16", r"bf16|bfloat16"),
    ("fp8", r"fp8|float8"),
    ("fp4", r"fp4|float4"),
    ("fp32", r"fp32|float32|float"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("int4", r"int4"),
    ("int64", r"int64"),
    ("int32", r"int32"),
    ("bool", r"bool"),
)
_PRODUCT = re.compile(r"conv|gemm|matmul|matrix_?mul|fully_?connected", re.I)
_CONSTANT = re.compile(r"^__mye\w*const\b")
_PROFILE = re.compile(r" \[profile (\d+)\]")


def from_inspector(json_text: str, *, file: str = UNKNOWN) -> PlanReport:
    """The report of an engine of classic TensorRT; never run on a real engine (see the module).

    What the inspector does not say is None: the plan's size and version, scratch, targets, profiles' shapes. Sizes are
    of the shapes it gives, without the padding of formats; with open dimensions they are None.

    Args:
        json_text: what the EngineInspector returned.
        file: the plan's path, to be shown.

    Raises:
        DataError: not its JSON, or of an engine built with less than `ProfilingVerbosity.DETAILED`.
    """
    layers, bindings = _read(json_text, file)
    ops: dict[int, list[PlanOp]] = {}
    for layer in layers:
        found = _PROFILE.search(str(layer.get("Name", "")))
        ops.setdefault(int(found[1]) if found else 0, []).append(_operation(layer))
    first = ops.get(0, [])
    written = {tensor.name for op in first for tensor in op.outputs}
    inputs = {t.name: t for op in first for t in op.inputs if t.name in bindings and t.name not in written}
    outputs = {t.name: t for op in first for t in op.outputs if t.name in bindings}
    weights = [_weights(layer) for layer in layers]
    return PlanReport(
        file=file,
        size_bytes=None,
        engine="tensorrt",
        version=UNKNOWN,
        targets=(),
        later_targets=None,
        weights_bytes=added(weights) or None,
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs.values()),
        profiles=None,
        programs=tuple(program(some, profile=profile) for profile, some in sorted(ops.items())),
        notes=("read with EngineInspector: no size, version, scratch, targets or profiles",),
    )


def _read(json_text: str, file: str) -> tuple[list[Mapping[str, Any]], set[str]]:
    try:
        content = json.loads(json_text)
        layers = content["Layers"]
        bindings = {str(one["Name"] if isinstance(one, dict) else one) for one in content.get("Bindings", ())}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: this is not an EngineInspector's JSON ({error!r}): pass get_engine_information's text in the "
            "format LayerInformationFormat.JSON"
        ) from error
    if not isinstance(layers, list) or not all(isinstance(one, dict) and "LayerType" in one for one in layers):
        raise DataError(
            f"{file}: the EngineInspector knows layers by name only: build the engine with ProfilingVerbosity.DETAILED"
        )
    return layers, bindings


def _operation(layer: Mapping[str, Any]) -> PlanOp:
    name, kind = str(layer.get("Name", "")), str(layer["LayerType"])
    tactic = str(layer.get("TacticName", ""))
    nodes = layers_of(str(layer.get("Metadata") or ""))
    inputs, outputs = (tuple(map(_tensor, layer.get(key) or ())) for key in ("Inputs", "Outputs"))
    weights = _weights(layer)
    fused_attention = is_attention(name) or is_attention(tactic)
    factors = [tensor for tensor in inputs if not tensor.constant]
    product: Factors | None = None
    if fused_attention:
        product = "activations"
    elif _PRODUCT.search(kind):
        held = weights != 0 or any(tensor.constant for tensor in inputs) or len(factors) < 2
        product = "weights" if held else "activations"
    computes = widest(tensor.dtype for tensor in (factors if product else (*factors, *outputs)))
    how = _fp32(product, computes, (*factors, *outputs))
    return PlanOp(
        kind=kind,
        name=_PROFILE.sub("", name),
        nodes=nodes,
        inputs=inputs,
        outputs=outputs,
        read_bytes=added([*(tensor.size_bytes for tensor in inputs), weights]),
        written_bytes=added(tensor.size_bytes for tensor in outputs),
        product=product,
        computes=computes,
        fp32=how,
        fp32_nodes=nodes if how else (),
        accumulates=(UNKNOWN, UNKNOWN) if fused_attention else None,
    )


def _fp32(product: Factors | None, computes: str, tensors: Iterable[PlanTensor]) -> HowFp32 | None:
    if product and computes == FP32:
        return "product"
    moved = any(tensor.dtype == FP32 and math.prod(tensor.shape) != 1 for tensor in tensors)
    return "tensors" if moved else None


def _tensor(entry: Mapping[str, Any]) -> PlanTensor:
    name = str(entry.get("Name", ""))
    shape = tuple(int(side) for side in entry.get("Dimensions") or ())
    dtype = _type(str(entry.get("Format/Datatype", "")))
    known = dtype in BYTES and "Dimensions" in entry and all(side >= 0 for side in shape)
    size = math.ceil(math.prod(shape) * BYTES[dtype]) if known else None
    return PlanTensor(_PROFILE.sub("", name), dtype, shape, bool(_CONSTANT.search(name)), size)


def _type(text: str) -> str:
    """The type within a format's description, such as `Half` or `Row major linear FP16 format`."""
    return next((name for name, words in _TYPES if re.search(rf"(?<![a-z])(?:{words})", text.lower())), UNKNOWN)


def _weights(layer: Mapping[str, Any]) -> int | None:
    """Bytes of a layer's weights and bias, which are among no inputs; None where their type is unknown."""
    total = 0.0
    for key in ("Weights", "Bias"):
        held = layer.get(key)
        if not isinstance(held, dict) or not held.get("Count"):
            continue
        dtype = _type(str(held.get("Type", "")))
        if dtype not in BYTES:
            return None
        total += BYTES[dtype] * int(held["Count"])
    return math.ceil(total)
