"""The search on a small network, real from the first layer's sensitivity to the bundle it ends in."""

import json

import numpy as np
import pytest

import segexport
from segexport import scenes
from segexport.bundle import open_bundle
from segexport.calibration import logits, prepared
from segexport.calibration.sources import GeneratedScenes
from segexport.errors import PrecisionError
from segexport.graph.graph import open_graph
from segexport.precision.int8 import FORMS, to_int8
from segexport.precision.layers import layers
from segexport.precision.placement import Placement
from segexport.tuning.groups import grouped
from segexport.tuning.sensitivity import sensitivities
from tests.support.checkpoints import SIZE, save_checkpoint

pytestmark = pytest.mark.bundle


@pytest.fixture(scope="module")
def graph(bundle):
    return open_graph(bundle.model)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return scenes.write_dataset(tmp_path_factory.mktemp("tune") / "scenes", 8, seed=scenes.VALIDATION_SEED, size=SIZE)


def test_every_layer_is_in_one_group(graph):
    groups = grouped(layers(graph.model.graph))
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(layer.name for layer in layers(graph.model.graph))
    assert len(groups) == 15
    assert groups["first convolution"] == (names[0],)
    assert groups["classifier"] == (names[-1],)
    assert len(groups["decode head"]) == 4
    assert len(groups["stage 1 attention"]) == 5  # the reduction and four projections
    assert len(groups["stage 2 attention"]) == 6  # the patch embedding too
    assert len(groups["stage 4 attention"]) == 5  # no reduction
    assert len(groups["stage 3 feed-forward"]) == 2
    assert len(groups["stage 4 depthwise"]) == 1


def test_sensitivity_is_the_noise_of_that_layer_alone(graph, ranges):
    drawn = GeneratedScenes(graph.contract.image_size)
    found = sensitivities(graph, ranges, drawn, "openvino")
    assert list(found) == [layer.name for layer in layers(graph.model.graph)]
    assert min(found.values()) > 0
    name = list(found)[3]
    batches = [prepared(drawn.sample(i).image, graph) for i in range(2)]
    copy = graph.copy()
    assert to_int8(copy, Placement((name,)), ranges, FORMS["openvino"]) == (name,)
    wanted = logits(graph, batches)
    assert found[name] == pytest.approx(np.sum((logits(copy, batches) - wanted) ** 2) / np.sum(wanted**2), rel=1e-6)


@pytest.mark.slow
def test_a_search_ends_in_a_placement_that_builds(run_cli, bundle, images, data, tmp_path):
    """On so small a network INT8 may pay or not, by the machine; either way the finding is whole and can be built."""
    out = tmp_path / "found"
    result = run_cli(
        *("tune", "--from-bundle", bundle.folder, "--data", images, "--calibration", data),
        *("--engine", "onnxruntime", "--budget", 100, "-o", out),
    )
    assert result.code == 0, result.err
    found = json.loads((out / "tuning.json").read_text())
    assert {p["name"] for p in found["points"]} >= {"fp32", "default"}
    assert all(np.isfinite([p["latency_ms"], p["miou"]]).all() for p in found["points"])
    assert {p["precision"] for p in found["points"]} == {"fp32", "int8"}
    assert set(found["gains_ms"]) == set(found["groups"])
    assert (out / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert "| fp32 |" in (out / "pareto.md").read_text()
    placement = json.loads((out / "placement.json").read_text())
    assert found["why"] in result.out
    assert (placement["precision"] == "int8") == bool(placement["int8"])
    files = {"calibration": out / "calibration.json", "placement": out / "placement.json"}
    if placement["int8"]:
        built = segexport.rebuild(bundle, tmp_path / "built", engine="onnxruntime", precision="int8", **files)
        assert set(built.manifest.engine.int8) <= set(placement["int8"])
    else:
        with pytest.raises(PrecisionError, match="build with --precision fp32"):
            segexport.rebuild(bundle, tmp_path / "built", engine="onnxruntime", precision="int8", **files)
    again = run_cli(
        *("tune", "--from-bundle", bundle.folder, "--data", images, "--calibration", data, "-o", out),
    )
    assert again.code == 2
    assert "--overwrite" in again.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--budget", "-1"], "a budget of -1.0 points is negative"),
        (["--confirm", "DATA"], "is what is searched on"),
        (["--limit", "3"], "too few to search on some and confirm on others"),
    ],
)
def test_what_cannot_be_searched_is_refused(run_cli, bundle, images, data, tmp_path, options, reason):
    options = [images if option == "DATA" else option for option in options]
    result = run_cli(
        *("tune", "--from-bundle", bundle.folder, "--data", images, "--calibration", data, "-o", tmp_path / "out"),
        *options,
    )
    assert result.code == 2
    assert reason in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_random_weights_and_classifiers_have_nothing_to_tune(run_cli, classifier, images, data, tmp_path):
    result = run_cli(
        *("tune", "--model", classifier, "--data", images, "--calibration", data, "-o", tmp_path / "out"),
    )
    assert result.code == 2
    assert "image classifier" in result.err
    random = save_checkpoint(tmp_path / "random")
    (random / "model.safetensors").unlink()
    built = segexport.build(random, tmp_path / "fp32", engine="onnxruntime", random_init=True)
    result = run_cli(
        *("tune", "--from-bundle", built.folder, "--data", images, "--calibration", data, "-o", tmp_path / "out"),
    )
    assert result.code == 2
    assert "random weights" in result.err


def test_auto_needs_data(run_cli, bundle, tmp_path):
    result = run_cli("build", "--from-bundle", bundle.folder, "--precision", "auto", "-o", tmp_path / "out")
    assert result.code == 2
    assert "pass --data too" in result.err


@pytest.mark.slow
def test_auto_builds_what_the_search_ends_in(run_cli, bundle, images, data, tmp_path):
    result = run_cli(
        *("build", "--from-bundle", bundle.folder, "--precision", "auto", "--data", images, "--calibration", data),
        *("--engine", "onnxruntime", "--budget", 100, "-o", tmp_path / "out"),
    )
    assert result.code == 0, result.err
    built = open_bundle(tmp_path / "out")
    assert built.manifest.precision in ("fp32", "int8")
    assert bool(built.manifest.engine.int8) == (built.manifest.precision == "int8")
    assert f"onnxruntime {built.manifest.engine.version} on CPU, {built.manifest.precision} (asked for)" in result.out
    assert "finding    " in result.out
    assert segexport.selftest(built).agreement == 1.0
