"""The selftest of the C++ example asks for what Python's asks on another machine than the bundle was built on."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from segexport.bundle import Bundle, open_bundle, write_manifest
from segexport.errors import SelftestFailed
from segexport.golden import selftest
from segexport.images import encode_png, read_mask
from segexport.spec import Precision


def changed(bundle: Bundle, folder: Path, precision: Precision, shares: dict[str, float]) -> Bundle:
    """A copy that was built on another machine, with a share of each golden mask's pixels of another class."""
    shutil.copytree(bundle.folder, folder)
    masks = {}
    for name in ("engine", "reference"):
        path = folder / "golden" / f"{name}.png"
        masks[name] = read_mask(path).copy()
        ids = masks[name].reshape(-1)
        ids[: round(shares.get(name, 0) * ids.size)] ^= 1
        path.write_bytes(encode_png(masks[name].astype(np.uint8), bundle.manifest.labels.palette))
    built = float(np.mean(masks["engine"] == masks["reference"]))
    golden = {**bundle.manifest.golden, "agreement_with_reference": built}
    engine = dataclasses.replace(bundle.manifest.engine, machine="another")
    write_manifest(folder, dataclasses.replace(bundle.manifest, precision=precision, engine=engine, golden=golden))
    return open_bundle(folder)


@pytest.mark.parametrize(
    ("precision", "shares", "why"),
    [
        ("fp32", {"engine": 0.0005}, None),
        ("fp32", {"engine": 0.01}, "99.9 % required"),
        ("int8", {"engine": 0.01}, None),
        ("int8", {"engine": 0.03}, "98.0 % required"),
        ("int8", {"engine": 0.01, "reference": 0.01}, "this engine computes worse here"),
        ("int8", {"engine": 0.004, "reference": 0.004}, None),
    ],
)
@pytest.mark.slow
def test_it_decides_as_python_does(
    precision: Precision,
    shares: dict[str, float],
    why: str | None,
    runtime_build: Path,
    openvino_bundle: Bundle,
    tmp_path: Path,
) -> None:
    program = runtime_build / "examples" / "segment"
    if not program.exists():
        pytest.skip("needs libjpeg and libpng with their headers, to build the examples")
    bundle = changed(openvino_bundle, tmp_path / "changed", precision, shares)
    done = subprocess.run([program, bundle.folder, "--selftest"], capture_output=True, text=True, check=False)
    if why is None:
        found = selftest(bundle)
        assert not found.same_machine
        share = f"{100 * found.agreement:.4f} % of the golden image's pixels are as built"
        assert done.stdout == f"{bundle.folder}: {share} ({100 * found.required:.1f} % required)\n"
        return
    with pytest.raises(SelftestFailed) as python:
        selftest(bundle)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert why.replace(" %", "%") in str(python.value)
