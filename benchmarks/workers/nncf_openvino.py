"""NNCF's `quantize` of OpenVINO's own conversion, with its default settings or with its preset for transformers."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from calibration_images import batches
from openvino_convert import PACKAGES, call_of, convert, processor_of, save
from protocol import Call, Facts, Request, serve


def prepare(request: Request) -> Facts:
    """Convert, quantise, write."""
    import nncf

    preset = {"model_type": nncf.ModelType.TRANSFORMER} if request["transformer"] else {}
    images = nncf.Dataset(list(batches(request, processor_of(request))))
    quantised = nncf.quantize(convert(request), images, **preset)
    return save(quantised, _model(request))


def open_contender(request: Request) -> tuple[Call, Facts]:
    """The quantised model in OpenVINO's default configuration."""
    call, hint = call_of(request, _model(request))
    return call, {
        "versions": {name: metadata.version(name) for name in ("nncf", *PACKAGES)},
        "precision": "int8",
        "settings": f"INFERENCE_PRECISION_HINT {hint}",
    }


def _model(request: Request) -> Path:
    name = "nncf-transformer" if request["transformer"] else "nncf"
    return Path(request["folder"]) / f"{name}.xml"


if __name__ == "__main__":
    serve(open_contender, prepare)
