"""A bundle's engine that also tells what the points of its network hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from segexport import engines, machine, native
from segexport.bench.points import Point, with_outputs
from segexport.bundle import Bundle
from segexport.engines.base import Outputs, Runner, check_images
from segexport.errors import EngineUnavailable
from segexport.files import write_failed
from segexport.images import UInt8
from segexport.segmenter import Segmenter
from segexport.spec import IMAGE, LOGITS, Contract

Infer = Callable[[UInt8], Outputs]
"""uint8 [N, H, W, 3] to every output of a graph by name, which the next call may overwrite."""


class ProbeRunner(Runner):
    """Runs a bundle's graph with its points as further outputs; the class map is made as the bundle's runner does."""

    def __init__(
        self, infer: Infer, contract: Contract, outputs: Mapping[str, Point], on_host: bool, threads: int | None
    ) -> None:
        """Args: how to run; the contract; what the added outputs are; whether `threads` make class maps of logits."""
        self.contract = contract
        self._infer = infer
        self._names = outputs
        self._on_host = on_host
        self._threads = threads or machine.cores()
        self._images: UInt8 | None = None
        self._outputs: Outputs = {}

    def stage(self, images: UInt8) -> None:
        """Keep the images for `execute`."""
        check_images(images, self.contract)
        self._images = images

    def execute(self) -> None:
        """Run the graph."""
        assert self._images is not None
        self._outputs = self._infer(self._images)

    def fetch(self) -> Outputs:
        """The contract's outputs; `points` has the others."""
        if self._on_host:
            assert self.contract.mask_size is not None
            return {"mask": native.class_map(self._outputs[LOGITS], self.contract.mask_size, self._threads)}
        return {name: np.array(self._outputs[name]) for name in self.contract.outputs}

    @property
    def points(self) -> tuple[Point, ...]:
        """The points there are, in the network's order."""
        return tuple(self._names.values())

    def held(self) -> dict[Point, npt.NDArray[np.float32]]:
        """What each point holds after `execute`, of the first image; the next call overwrites it."""
        return {point: self._outputs[name][0] for name, point in self._names.items()}


def open_probe(bundle: Bundle, threads: int | None) -> tuple[Segmenter, ProbeRunner]:
    """A bundle on its own engine and device with its points put out, to be given images of any size; and its runner.

    Raises:
        ContractError: the bundle's graph is no SegFormer's.
        EngineUnavailable: the engine is not installed or does not compute in the bundle's precision here, or the
            compiled part that makes the class maps is missing.
        OutputError: no room for a copy of the graph in the folder for temporary files.
    """
    facts = bundle.manifest.engine
    engines.require(facts.name, bundle.manifest.precision)
    on_host = facts.class_map == "host"
    if on_host and not native.available():
        raise EngineUnavailable(native.MISSING)
    model, outputs = with_outputs(bundle.engine_graph)
    with tempfile.TemporaryDirectory(prefix="segexport-explain-") as folder:
        path = Path(folder) / "probed.onnx"
        try:
            ir.save(model, path)
        except OSError as error:
            raise write_failed(path, error) from error
        names = [output.name or "" for output in model.graph.outputs]
        infer = _OPENERS[facts.name](path, names, bundle, threads)
    runner = ProbeRunner(infer, bundle.manifest.contract, outputs, on_host, threads)
    return Segmenter(bundle, runner), runner


def _onnxruntime(path: Path, names: Sequence[str], bundle: Bundle, threads: int | None) -> Infer:
    from segexport.engines.onnxruntime import session

    opened = session(path, threads)

    def infer(images: UInt8) -> Outputs:
        return dict(zip(names, opened.run(list(names), {IMAGE: images}), strict=True))

    return infer


def _openvino(path: Path, names: Sequence[str], bundle: Bundle, threads: int | None) -> Infer:
    import openvino as ov

    from segexport.engines.openvino import compile_graph

    facts = bundle.manifest
    compiled = compile_graph(path, threads, facts.engine.device, facts.precision)
    request = compiled.create_infer_request()

    def infer(images: UInt8) -> Outputs:
        pixels = np.require(images, requirements=["C", "W"])  # alive until the request is done
        request.set_tensor(IMAGE, ov.Tensor(pixels, shared_memory=True))
        request.infer()
        return {name: request.get_tensor(name).data for name in names}

    return infer


_OPENERS: Mapping[str, Callable[[Path, Sequence[str], Bundle, int | None], Infer]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
PROBED = tuple(_OPENERS)
"""The engines whose points can be put out."""
