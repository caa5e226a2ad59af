"""Bundles with a TensorRT engine, built for real by TensorRT for RTX where there is no GPU."""

from __future__ import annotations

import json
import shutil
from importlib import resources

import jsonschema
import numpy as np
import pytest

import segexport
from segexport import golden
from segexport.bundle import CACHE, ENGINE_GRAPH, PLAN, open_bundle
from segexport.engines.rehearsal import rehearse
from segexport.errors import BundleCorrupt, ContractError, EngineUnavailable, PrecisionError
from segexport.files import sha256_of
from segexport.images import read_image
from segexport.tensorrt.device import gpus
from segexport.tensorrt.flavour import CLASSIC
from segexport.tensorrt.options import TensorRtOptions, parse_profile
from segexport.tensorrt.plan import read_plan
from tests.support.checkpoints import SIZE

pytestmark = pytest.mark.bundle
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")

RTX = "tensorrt-rtx"


@pytest.fixture(scope="module")
def half(bundle, tmp_path_factory):
    """The small checkpoint in FP16 for RTX."""
    return segexport.rebuild(bundle, tmp_path_factory.mktemp("rtx") / "half", engine=RTX, precision="fp16")


def manifest_json(found):
    return json.loads((found.folder / "segexport.json").read_text())


def test_what_is_in_it(half):
    facts = half.manifest.engine
    assert (facts.name, facts.class_map, facts.device, facts.derived) == (RTX, "device", "GPU", True)
    assert facts.plan.profiles == ("1x64x96",)
    assert facts.plan.onnx_sha256 == sha256_of(half.folder / ENGINE_GRAPH)
    assert facts.plan.compute_capability is None
    assert half.manifest.golden["engine_ran"] == bool(gpus())
    assert half.manifest.golden["agreement_with_reference"] > 0.99
    schema = json.loads((resources.files("segexport") / "data" / "manifest.schema.json").read_text())
    jsonschema.validate(manifest_json(half), schema)
    assert PLAN in (half.folder / "SHA256SUMS").read_text()
    report = read_plan(half.plan)
    assert report.programs[0].attention.blocks == 4  # of 8 channels a head, which no kernel fuses
    assert [(one.name, one.dtype) for one in report.outputs] == [("logits", "fp16")]


def test_a_changed_plan_is_seen(half, tmp_path):
    shutil.copytree(half.folder, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / PLAN).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "copy" / PLAN).write_bytes(content)
    with pytest.raises(BundleCorrupt, match=r"engine\.plan is not the file that was built"):
        open_bundle(tmp_path / "copy")
    (tmp_path / "copy" / PLAN).unlink()
    with pytest.raises(BundleCorrupt, match=r"engine\.plan is missing"):
        open_bundle(tmp_path / "copy")


def test_the_class_map_in_the_graph(bundle, tmp_path):
    options = TensorRtOptions(class_map="graph", targets=("sm86", "sm89"))
    assert_class_map_in_the_graph(segexport.rebuild(bundle, tmp_path / "graph", engine=RTX, tensorrt=options))


def assert_class_map_in_the_graph(made):
    assert made.manifest.engine.class_map == "graph"
    assert made.manifest.engine.plan.targets == ("sm86", "sm89")
    report = read_plan(made.plan)
    assert [(one.name, one.dtype, one.shape) for one in report.outputs] == [("mask", "uint8", (1, *SIZE))]
    assert report.targets == ("sm86", "sm89")


def test_int8_from_a_table(bundle, ranges, tmp_path):
    made = segexport.rebuild(bundle, tmp_path / "int8", engine=RTX, precision="int8", calibration=ranges)
    assert made.manifest.engine.int8
    assert set(made.manifest.engine.int8) <= set(made.manifest.lowering.int8)
    assert read_plan(made.plan).programs[0].products["int8"] > 0
    assert made.manifest.golden["agreement_with_reference"] > 0.9


def test_from_a_bundle_in_its_precision(half, bundle, tmp_path):
    """A Jetson builds its engine from any bundle in the precision, without calibrating, PyTorch or the checkpoint."""
    emulated = segexport.rebuild(bundle, tmp_path / "cpu", engine="onnxruntime", precision="fp16")
    made = segexport.rebuild(emulated, tmp_path / "rtx", engine=RTX)
    assert made.manifest.precision == "fp16"
    assert made.plan.read_bytes() == half.plan.read_bytes()
    with pytest.raises(PrecisionError, match="fp16 already"):
        segexport.rebuild(emulated, tmp_path / "int8", engine=RTX, precision="int8", calibration=tmp_path)


@pytest.mark.parametrize(
    "profiles", [("1x64x96:1x64x96:2x128x192",), ("1x64x96", "1x128x128"), ("1x64x96:2x64x96:4x64x96",)], ids=" ".join
)
def test_profiles(bundle, tmp_path, profiles):
    asked = TensorRtOptions(profiles=tuple(map(parse_profile, profiles)))
    made = segexport.rebuild(bundle, tmp_path / "open", engine=RTX, tensorrt=asked)
    assert made.manifest.engine.plan.profiles == profiles
    report = read_plan(made.plan)
    assert len(report.programs) == len(profiles)
    assert [str(parse_profile("x".join(map(str, one.best[:3])))) for one in report.profiles] == [
        "x".join(map(str, one.best)) for one in asked.profiles
    ]
    assert made.manifest.golden["agreement_with_reference"] > 0.999


def test_the_rehearsal_is_the_engines_graph(half):
    """What was recorded as the engine's result is what its graph gives, and what its portable graph gives nearly."""
    picture = read_image(half.folder / "golden" / "image.png")
    with rehearse(half) as runner:
        found = golden.decide(runner, picture)
    if not gpus():
        np.testing.assert_array_equal(found, golden.read(half.folder, "engine"))
    assert len(np.unique(found)) > 1


def test_refusals(bundle, half, tmp_path):
    small = tmp_path / "no"
    with pytest.raises(ContractError, match="takes none of TensorRT's options"):
        segexport.rebuild(bundle, small, engine="onnxruntime", tensorrt=TensorRtOptions(workspace_mib=64))
    with pytest.raises(EngineUnavailable, match="--dla is not for TensorRT for RTX"):
        segexport.rebuild(bundle, small, engine=RTX, tensorrt=TensorRtOptions(dla=0))
    with pytest.raises(ContractError, match="no profile serves 1x64x96"):
        segexport.rebuild(bundle, small, engine=RTX, tensorrt=TensorRtOptions(profiles=(parse_profile("1x128x128"),)))
    if not CLASSIC.installed():
        with pytest.raises(EngineUnavailable, match="tensorrt is not installed"):
            segexport.rebuild(bundle, small, engine="tensorrt")
    assert not small.exists()
    assert not [path for path in tmp_path.iterdir() if path.name != CACHE]


def test_without_a_gpu_it_is_built_and_not_run(half, data, run_cli):
    if gpus():
        pytest.skip("there is a GPU")
    for command in (("selftest", half.folder), ("bench", half.folder, "--data", data, "--no-reference")):
        done = run_cli(*command)
        assert done.code == 2
        assert "error: tensorrt-rtx cannot run here: no NVIDIA driver" in done.err
    assert "tensorrt-rtx cannot run here" in run_cli("engines").out


def test_the_command_line(bundle, tmp_path, run_cli):
    out = tmp_path / "rtx"
    options = ("--engine", RTX, "--precision", "fp16", "--target", "rtx30,sm89", "--class-map", "graph", "--verbose")
    done = run_cli("build", "--from-bundle", bundle.folder, "--out", out, *options)
    assert done.code == 0, done.err
    assert "targets    sm86, sm89" in done.out
    assert "of 4 attention blocks fused" in done.out
    if not gpus():
        assert "built and not run" in done.out
    assert_class_map_in_the_graph(open_bundle(out))
    assert run_cli("inspect", out).code == 0
    for wrong, said in (
        (("--target", "sm61"), "'sm61' is no target of TensorRT for RTX"),
        (("--profile", "512x512"), "'512x512' is no profile"),
        (("--optimization-level", 9), "pass 0 to 5"),
        (("--weight-streaming",), "--weight-streaming is not for TensorRT for RTX"),
    ):
        done = run_cli("build", "--from-bundle", bundle.folder, "--engine", RTX, "--out", tmp_path / "no", *wrong)
        assert (done.code, (tmp_path / "no").exists()) == (2, False)
        assert said in done.err


def test_what_cannot_be_explained_is_refused_at_once(half, bundle, data, run_cli):
    done = run_cli("bench", bundle.folder, half.folder, "--data", data, "--explain")
    assert done.code == 2
    assert (
        "is for tensorrt-rtx, whose points cannot be put out: explain bundles for onnxruntime or openvino" in done.err
    )
