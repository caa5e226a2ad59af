"""What segexport writes has no errors on any target, and TensorRT for RTX agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

import segexport
from segexport.calibration import calibrate_graph
from segexport.calibration.sources import GeneratedScenes
from segexport.graph.graph import Graph
from segexport.lint import check_file, choose_targets
from segexport.lowering import Recipe, complete, lower
from segexport.spec import DYNAMIC, Precision
from tests.support.checkpoints import SIZE
from tests.support.verdicts import verdicts

pytestmark = pytest.mark.bundle


@pytest.fixture(scope="module")
def ours(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a bundle's `model.onnx` can be, by precision."""
    exported = segexport.export(checkpoint, size=SIZE)
    graphs = {"fp32": exported}
    ranges = calibrate_graph(exported, GeneratedScenes(exported.contract.image_size), samples=2)
    lowered: tuple[Precision, ...] = ("fp16", "int8")
    for precision in lowered:
        graphs[precision] = lower(exported, complete(exported, Recipe(precision, ranges)))[0]
    return saved(graphs, tmp_path_factory.mktemp("ours"))


def saved(graphs: dict[str, Graph], folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name.replace(' ', '_')}.onnx" for name in graphs}
    for name, graph in graphs.items():
        graph.save(files[name])
    return files


def rules_of(path: Path) -> dict[str, set[str]]:
    """The rules that a file breaks on any target, by severity."""
    found: dict[str, set[str]] = {"error": set(), "warning": set()}
    for one in check_file(path, choose_targets(["all"])).findings:
        found[one.severity].add(one.rule)
    return found


def test_no_errors_on_any_target(ours: dict[str, Path]) -> None:
    found = {name: rules_of(path) for name, path in ours.items()}
    assert found["fp32"] == {"error": set(), "warning": {"attention-fp32"}}
    for name in ("fp16", "int8"):
        assert not found[name]["error"]
        assert found[name]["warning"] <= {"attention-one-head", "attention-head-size"}, "the network is tiny"


def test_tensorrt_takes_them(rtx: None, ours: dict[str, Path]) -> None:
    said = verdicts(list(ours.values()))
    assert {name: said[path.name]["reason"] for name, path in ours.items() if not said[path.name]["taken"]} == {}


@pytest.mark.slow
def test_every_kind_of_graph(rtx: None, checkpoint: Path, classifier: Path, tmp_path: Path) -> None:
    files = saved(
        {
            "as exported": segexport.export(checkpoint, size=SIZE, rewrites=False),
            "an open batch": segexport.export(checkpoint, size=SIZE, batch=DYNAMIC),
            "a classifier": segexport.export(classifier, size=(64, 64)),
            "a letterbox": segexport.export(checkpoint, size=SIZE, source_size=(135, 240), resize_mode="letterbox"),
        },
        tmp_path,
    )
    said = verdicts(list(files.values()))
    for name, path in files.items():
        expected = {"attention-fp32", "input-dynamic"} if name == "an open batch" else {"attention-fp32"}
        assert rules_of(path) == {"error": set(), "warning": expected}, name
        assert said[path.name]["taken"], said[path.name]["reason"]
