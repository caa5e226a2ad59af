"""The golden image: generated, never a user's, with what the reference and the bundle's own engine make of it.

`selftest` runs it again on the target: exactly the recorded result on the same engine, version and processor. Elsewhere
kernels add in another order, and a lower precision rounds other pixels the other way, no worse ones: there 0.999 of the
recorded result is required in FP32, and in another precision 0.98 of it and at most half a point less agreement with
the reference than when it was built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from segexport import scenes
from segexport.bundle import GOLDEN_IMAGE, Bundle
from segexport.decision import Decision, agreement, decision
from segexport.engines import Runner, hardware, info, open_runner
from segexport.engines.base import as_batch, in_order
from segexport.errors import SelftestFailed
from segexport.graph.resize import equal_to_pillow
from segexport.images import UInt8, encode_png, read_image, read_mask
from segexport.spec import Contract, Labels, Preprocessing

GOLDEN_SEED = 2105_15203  # the paper's number; outside the ranges of training and validation scenes
ELSEWHERE, ELSEWHERE_ROUNDED = 0.999, 0.98
WORSE = 0.005
"""How much less of the reference a lower precision may give elsewhere."""


@dataclass(frozen=True)
class Selftest:
    """How a bundle's golden image came out: shares of equal pixels, and what was required."""

    agreement: float
    agreement_with_reference: float
    required: float
    same_machine: bool


def image_for(contract: Contract) -> UInt8:
    """The golden image, uint8 [H, W, 3] RGB in the contract's image size."""
    return scenes.scene(GOLDEN_SEED, contract.image_size)[0]


def resize_facts(contract: Contract, preprocessing: Preprocessing, rgb: UInt8) -> dict[str, Any]:
    """For the manifest: the share of an image's pixels that the graph's resize makes equal to Pillow's, and which."""
    if contract.content_size == contract.image_size:
        return {}
    equal = equal_to_pillow(rgb, contract.content_size, preprocessing.resample)
    return {"resize_equal_to_pillow": equal, "resize_pillow": PIL.__version__}


def decide(runner: Runner, rgb: UInt8) -> Decision:
    """Run an image of the contract's size and reduce what comes out to classes, whatever the contract's output is."""
    return decision(runner.run(as_batch(in_order(rgb, runner.contract), runner.contract)))


def write(folder: Path, name: str, found: Decision, labels: Labels) -> None:
    """Store a decision as `golden/<name>.png`, or `.json` for classes."""
    if found.ndim == 1:
        (folder / "golden" / f"{name}.json").write_text(json.dumps(found.tolist()) + "\n", encoding="utf-8")
    else:
        (folder / "golden" / f"{name}.png").write_bytes(encode_png(found.astype(np.uint8), labels.palette))


def read(folder: Path, name: str) -> Decision:
    """Inverse of `write`."""
    path = folder / "golden" / f"{name}.json"
    if path.exists():
        return np.array(json.loads(path.read_text(encoding="utf-8")))
    return read_mask(folder / "golden" / f"{name}.png")


def selftest(bundle: Bundle, *, threads: int | None = None, device: str | None = None) -> Selftest:
    """Run the golden image on this machine and compare.

    Raises:
        SelftestFailed: the result differs by more than is allowed.
        EngineUnavailable: the engine is not installed.
    """
    with open_runner(bundle, threads=threads, device=device) as runner:
        found = decide(runner, read_image(bundle.folder / GOLDEN_IMAGE))
    facts = bundle.manifest.engine
    here = (info(facts.name).version, device or facts.device, hardware(facts.name, device))
    same = here == (facts.version, facts.device, facts.machine)
    result = Selftest(
        agreement=agreement(found, read(bundle.folder, "engine")),
        agreement_with_reference=agreement(found, read(bundle.folder, "reference")),
        required=1.0 if same else ELSEWHERE if bundle.manifest.precision == "fp32" else ELSEWHERE_ROUNDED,
        same_machine=same,
    )
    if result.agreement < result.required:
        raise SelftestFailed(
            f"{bundle.folder}: {result.agreement:.4%} of the golden image's pixels are as built, {result.required:.1%} "
            "required: this engine does not compute what was verified; build the bundle on this machine"
        )
    built = bundle.manifest.golden["agreement_with_reference"]
    if not same and result.agreement_with_reference < built - WORSE:
        raise SelftestFailed(
            f"{bundle.folder}: {result.agreement_with_reference:.4%} of the golden image is as the reference, "
            f"{built:.4%} were when it was built: this engine computes worse here; build the bundle on this machine"
        )
    return result
