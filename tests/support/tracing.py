"""The oracle: transformers' own modules traced by PyTorch, for the graph that segexport writes to be compared with.

Nothing else in the tests traces. A trace takes seconds to minutes, so that what is compared of it is kept on disk by
the weights, the size, the batch and the versions, in pytest's cache. The traces of tests that are not slow are recorded
(`python -m tests.support.tracing` does it anew); a thorough run traces all the same, and compares.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir

from segexport.checkpoint import Checkpoint
from segexport.segformer.network import OPSET
from segexport.spec import DYNAMIC, Size
from tests.support.once import locked
from tests.support.properties import thorough

RECORDED = Path(__file__).parents[1] / "recorded" / "traces"

Node = tuple[object, ...]


@dataclass(frozen=True)
class Form:
    """A graph without names: its nodes in order, as plain values, and the module that each comes from.

    A node says its operator, attributes, shapes and dtypes, and what makes each input; constants are told by the hash
    of their bytes. Identity is left out, and so are the names and the order of initialisers. Nothing else is.
    """

    nodes: list[Any]
    scopes: list[str]


def traced(checkpoint: Checkpoint, size: Size, batch: int, cache: Path) -> Form:
    """What `torch.onnx.export` and onnxscript's optimiser make of the checkpoint's network, eager attention.

    Inputs and outputs as `segexport.segformer.network.write` has them. Recorded, unless the run is a thorough one.
    """
    versions = "+".join(metadata.version(name).partition("+")[0] for name in ("torch", "transformers", "onnxscript"))
    key = f"{checkpoint.source.weights_sha256} {checkpoint.structure} {size} {batch} {versions}"
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    recorded = RECORDED / f"{path.name}.gz"
    if recorded.exists() and not thorough():
        return Form(**json.loads(gzip.decompress(recorded.read_bytes())))
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(asdict(form_of(_trace(checkpoint, size, batch)))))
            partial.rename(path)
    found = path.read_text()
    if recorded.exists():
        assert gzip.decompress(recorded.read_bytes()).decode() == found, f"{recorded} is no longer what is traced"
    return Form(**json.loads(found))


def form_of(model: ir.Model) -> Form:
    """What is compared of a graph."""
    scopes = [(node.name or "").rpartition("/")[0] for node in model.graph if node.op_type != "Identity"]
    return Form(json.loads(json.dumps(_nodes(model))), scopes)  # tuples become lists, as in a file


def _nodes(model: ir.Model) -> tuple[Node, ...]:
    places: dict[ir.Value, object] = {value: ("input", i, _type(value)) for i, value in enumerate(model.graph.inputs)}
    found: list[Node] = []
    for node in model.graph:
        inputs = tuple(_place(value, places) for value in node.inputs)
        if node.op_type == "Identity":
            places[node.outputs[0]] = inputs[0]
            continue
        attributes = tuple(sorted((name, _plain(attribute.value)) for name, attribute in node.attributes.items()))
        outputs = tuple(_type(value) for value in node.outputs)
        found.append((node.domain, node.op_type, attributes, inputs, outputs))
        for i, value in enumerate(node.outputs):
            places[value] = ("node", len(found) - 1, i)
    outputs = tuple((value.name, _place(value, places)) for value in model.graph.outputs)
    return (*found, ("outputs", outputs), ("opset", dict(model.opset_imports)))


def _place(value: ir.Value | None, places: dict[ir.Value, object]) -> object:
    if value is None or value in places:
        return None if value is None else places[value]
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None, f"{value.name} comes from nowhere"
    array = tensor.numpy()
    return "constant", str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _type(value: ir.Value) -> object:
    shape = None if value.shape is None else tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
    return str(value.dtype), shape


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(np.float32(value))  # what the format stores
    return tuple(value) if isinstance(value, list | tuple) else value


def _trace(checkpoint: Checkpoint, size: Size, batch: int) -> ir.Model:
    import torch

    network = _logits_only(checkpoint.model(attention="eager"))
    dynamic = batch == DYNAMIC
    # torch.export specialises dimensions of size 1, so an open batch is traced with 2 images.
    image = torch.zeros(2 if dynamic else batch, checkpoint.structure.channels, *size)
    with _quiet_exporter(), torch.no_grad():
        program: Any = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic else None,
            optimize=False,
            verbose=False,
        )
        program.optimize()
    model: ir.Model = program.model
    _tidy(model)
    return model


def _logits_only(model: Any) -> Any:
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.network(pixel_values=pixel_values).logits

    return Network().eval()


def _tidy(model: ir.Model) -> None:
    """Name nodes by the module they came from, and drop what the exporter leaves behind."""
    for node in model.graph:
        scope = _scope(node)
        node.name = f"{scope}/{node.op_type}:{node.outputs[0].name}" if scope else node.name
        if node.op_type == "Reshape" and "allowzero" in node.attributes and _no_zero(node.inputs[1]):
            del node.attributes["allowzero"]  # without a zero in the shape it changes nothing
        node.metadata_props.clear()
        node.doc_string = None
    for value in list(model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.functions.clear()


def _scope(node: ir.Node) -> str:
    found: list[str] = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    inner = [scope.removeprefix("network.") for scope in found if scope.startswith("network.")]
    return inner[-1] if inner else ""


def _no_zero(shape: ir.Value | None) -> bool:
    constant = ir.convenience.get_const_tensor(shape) if shape is not None else None
    return constant is not None and 0 not in constant.numpy()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch.onnx without its warnings about itself; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def record() -> None:
    """Trace anew what the tests of graphs trace that are not slow, and keep it in place of what was recorded."""
    shutil.rmtree(RECORDED, ignore_errors=True)
    RECORDED.mkdir(parents=True)
    with TemporaryDirectory() as cache:
        command = ["-m", "pytest", "-m", "not slow", "-o", f"cache_dir={cache}", "tests/segformer/test_network.py"]
        subprocess.run([sys.executable, *command], check=True)
        for path in Path(cache, "d", "traces").glob("*.json"):
            (RECORDED / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == "__main__":
    record()
