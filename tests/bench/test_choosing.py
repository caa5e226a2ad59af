"""Which bundles the names of `segexport bench` stand for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from segexport.bench.choosing import Choice, choose
from segexport.bundle import MODEL, Bundle, open_bundle
from segexport.errors import BundleCorrupt, CheckpointError, ContractError, EngineUnavailable, OutputError
from tests.support.cli import RunCli, assert_refused
from tests.support.manifests import edit_manifest

pytestmark = pytest.mark.bundle


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(bundle: Bundle, folder: str, **facts: object) -> None:
    """A copy of the bundle, with another name or other weights if told."""
    shutil.copytree(bundle.folder, folder)

    def change(manifest: dict) -> None:
        manifest["name"] = facts.get("name", manifest["name"])
        manifest["source"]["weights_sha256"] = facts.get("weights", manifest["source"]["weights_sha256"])
        manifest["engine"]["name"] = facts.get("engine", manifest["engine"]["name"])

    edit_manifest(Path(folder), change)


def folders(choice: Choice) -> list[str]:
    return [str(bundle.folder) for one in choice.sets for bundle in one.bundles]


def test_no_name_is_every_bundle_below_bundles(bundle: Bundle) -> None:
    """In sets of the same weights; what cannot run here, or is no longer whole, is left out and said."""
    with pytest.raises(ContractError, match="no bundles below bundles/: build one, segexport build"):
        choose([])
    put(bundle, "bundles/a")
    put(bundle, "bundles/deep/b", name="other", weights="0" * 64)
    put(bundle, "bundles/c", name="other", weights="1" * 64)
    put(bundle, "bundles/d")
    put(bundle, "bundles/.e.partial-1")
    put(bundle, "bundles/f", engine="onnxruntime-cuda")
    put(bundle, "bundles/g")
    Path("bundles/g", MODEL).write_bytes(b"")
    found = choose([])
    assert [(one.name, [b.name for b in one.bundles]) for one in found.sets] == [
        ("tiny", ["a", "d"]),
        ("other (weights 11111111)", ["c"]),
        ("other (weights 00000000)", ["b"]),
    ]
    cannot_run, changed = found.left_out
    assert cannot_run.startswith("bundles/f: onnxruntime-cuda ")
    assert changed.startswith(f"bundles/g/{MODEL} is not the file that was built")
    assert found.said == ()


def test_a_name_is_a_bundle_then_one_below_bundles_then_all_of_that_name(bundle: Bundle, checkpoint: Path) -> None:
    put(bundle, "x")
    put(bundle, "bundles/x")
    put(bundle, "bundles/y", name="x")
    put(bundle, "bundles/z", name="x")
    assert folders(choose(["x"])) == ["x"]
    shutil.rmtree("x")
    assert folders(choose(["x"])) == ["bundles/x"]
    assert choose(["x"]).said == ("x: bundles/x",)
    shutil.rmtree("bundles/x")
    assert folders(choose(["x"])) == ["bundles/y", "bundles/z"]
    assert choose(["x"]).said == ("x: bundles/y, bundles/z",)
    assert folders(choose(["x", "bundles/z", "y"])) == ["bundles/y", "bundles/z"], "none twice"
    Path("bundles").rename("elsewhere")
    assert folders(choose(["elsewhere"])) == ["elsewhere/y", "elsewhere/z"]


def test_a_checkpoint_is_built_for_every_engine_of_cpus(checkpoint: Path) -> None:
    steps: list[str] = []
    found = choose([str(checkpoint)], steps.append)
    names = ["bundles/tiny-fp32-openvino", "bundles/tiny-fp32-onnxruntime"]
    assert folders(found) == names
    assert steps.count("sealing the bundle") == 2
    assert found.said == (f"{checkpoint}: a checkpoint, as {', '.join(names)}",)
    assert [bundle.manifest.precision for bundle in found.sets[0].bundles] == ["fp32", "fp32"]
    steps.clear()
    assert folders(choose([str(checkpoint)], steps.append)) == names
    assert "sealing the bundle" not in steps, "what stands there is taken"
    edit_manifest(Path(names[0]), lambda manifest: manifest["source"].update(weights_sha256="0" * 64))
    with pytest.raises(OutputError, match=f"{names[0]} was built from other weights than .* has: move it"):
        choose([str(checkpoint)])


def test_a_name_of_nothing(bundle: Bundle) -> None:
    with pytest.raises(CheckpointError, match=r"^b9 is no bundle, nor the name .* did you mean b0\? "):
        choose(["b9"])


def test_a_bundle_that_is_named_is_not_left_out(bundle: Bundle) -> None:
    put(bundle, "bundles/a")
    Path("bundles/a", MODEL).write_bytes(b"")
    with pytest.raises(BundleCorrupt, match="is not the file that was built"):
        choose(["bundles/a"])
    with pytest.raises(EngineUnavailable, match=r"no bundle can run here: bundles/a/.* is not the file that was built"):
        choose([])


def test_the_bare_command(bundle: Bundle, openvino_bundle: Bundle, run_cli: RunCli) -> None:
    """`segexport bench`: a table for each set of weights, on generated scenes, and what was left out."""
    assert_refused(run_cli("bench"), "no bundles below bundles/: build one")
    put(bundle, "bundles/a")
    put(openvino_bundle, "bundles/b")
    put(bundle, "bundles/c", name="other", weights="0" * 64)
    put(bundle, "bundles/d", engine="onnxruntime-cuda")
    found = run_cli("bench", "--no-reference", "--limit", 1)
    assert found.code == 0, found.err
    assert found.out.index("\ntiny\n") < found.out.index("\nother\n")
    assert "left out: bundles/d: onnxruntime-cuda" in found.out
    assert found.out.count("generated scenes") == 2
    assert open_bundle("bundles/a").manifest == bundle.manifest, "a benchmark changes no bundle"
