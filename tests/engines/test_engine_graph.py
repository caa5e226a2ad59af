"""What a bundle derives for its own engine: another graph, class maps made behind it, a cache, another precision."""

from __future__ import annotations

import dataclasses
import errno
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import segexport
from segexport import engines, native, passes, scenes
from segexport.bundle import ENGINE_GRAPH, Bundle, open_bundle
from segexport.datasets import open_data
from segexport.engines import ENGINES, info, open_runner
from segexport.errors import BundleCorrupt, EngineUnavailable
from segexport.evaluation.metrics import ConfusionMatrix
from segexport.golden import GOLDEN_IMAGE
from segexport.graph.graph import open_graph
from segexport.images import read_image
from segexport.spec import DYNAMIC
from tests.support.checkpoints import SIZE
from tests.support.class_maps import assert_equal_maps, upsampled
from tests.support.cli import RunCli

pytestmark = pytest.mark.bundle

BUILT_FOR = [name for name in ENGINES if info(name).builds and info(name).devices]
HAS_BF16 = "bf16" in info("openvino").precisions
ON_HOST = "host" if native.available() else "graph"
ODD = {"size": (64, 96), "batch": DYNAMIC, "channel_order": "bgr", "mask_size": (101, 77)}


def picture(seed: int, bundle: Bundle) -> np.ndarray:
    return scenes.scene(seed, bundle.manifest.contract.size)[0]


def masks(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    with open_runner(bundle) as runner:
        return runner.run(images)["mask"]


@pytest.fixture(scope="module")
def each(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The small bundle for every engine."""
    out = tmp_path_factory.mktemp("each")
    own = bundle.manifest.engine.name
    return {own: bundle, **{n: segexport.rebuild(bundle, out / n, engine=n) for n in BUILT_FOR if n != own}}


@pytest.fixture(scope="module")
def odd(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Any batch, BGR, and a mask of no whole factor."""
    return segexport.build(checkpoint, tmp_path_factory.mktemp("odd") / "odd", engine="onnxruntime", **ODD)


@pytest.mark.parametrize("engine", BUILT_FOR)
class TestDerived:
    def test_the_manifest_and_the_graph_say_what_was_done(self, each: dict[str, Bundle], engine: str) -> None:
        bundle = each[engine]
        facts = bundle.manifest.engine
        assert [result.name for result in facts.rewrites] == [p.name for p in passes.FOR_ENGINE[engine]]
        assert facts.class_map == ON_HOST
        assert bundle.engine_graph == bundle.folder / ENGINE_GRAPH
        assert bundle.model.read_bytes() == each["onnxruntime"].model.read_bytes()
        derived = open_graph(bundle.engine_graph)
        assert derived.rewrites == (*bundle.manifest.rewrites, *facts.rewrites)
        assert derived.contract == bundle.manifest.contract
        (output,) = derived.model.graph.outputs
        assert output.name == ("logits" if ON_HOST == "host" else "mask")
        onnx.checker.check_model(bundle.engine_graph)

    def test_a_changed_graph_is_refused(self, each: dict[str, Bundle], engine: str, tmp_path: Path) -> None:
        folder = shutil.copytree(each[engine].folder, tmp_path / "copy")
        content = (folder / ENGINE_GRAPH).read_bytes()
        (folder / ENGINE_GRAPH).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleCorrupt, match=ENGINE_GRAPH):
            segexport.open(folder)
        (folder / ENGINE_GRAPH).unlink()
        with pytest.raises(BundleCorrupt, match=ENGINE_GRAPH):
            segexport.open(folder)

    def test_deriving_again_makes_the_same(self, each: dict[str, Bundle], engine: str, tmp_path: Path) -> None:
        """From a bundle of the other engine, whose own graph must not come along."""
        other = next(name for name in BUILT_FOR if name != engine)
        again = segexport.rebuild(each[other], tmp_path / "again", engine=engine)
        assert again.engine_graph.read_bytes() == each[engine].engine_graph.read_bytes()
        assert again.manifest.engine == each[engine].manifest.engine

    def test_without_rewrites_there_is_nothing_of_its_own(
        self, plain: Bundle, each: dict[str, Bundle], engine: str, tmp_path: Path
    ) -> None:
        bundle = plain if engine == "onnxruntime" else segexport.rebuild(plain, tmp_path / "plain", engine=engine)
        facts = bundle.manifest.engine
        assert (bundle.manifest.rewrites, facts.rewrites, facts.class_map) == ((), (), "graph")
        assert not (bundle.folder / ENGINE_GRAPH).exists()
        assert bundle.engine_graph == bundle.model

    def test_the_golden_mask_is_the_plain_graphs(self, plain: Bundle, each: dict[str, Bundle], engine: str) -> None:
        """The best two of the plain graph's logits say where a difference would be one."""
        image = read_image(plain.folder / GOLDEN_IMAGE)[None]
        model = ir.load(plain.model)
        logits = next(v for node in model.graph for v in node.outputs if v.name == "network_logits")
        model.graph.outputs.append(logits)
        session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
        want, network = session.run(["mask", "network_logits"], {"image": image})
        network = np.ascontiguousarray(network.transpose(0, 2, 3, 1))
        assert len(np.unique(want)) > 2, "a mask of one class proves nothing"
        assert_equal_maps(masks(each[engine], image), network, upsampled(network, SIZE), want)

    def test_any_batch_and_a_mask_of_no_whole_factor(
        self, odd: Bundle, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One after another, more and fewer than before; and as without the compiled part."""
        bundle = odd if engine == "onnxruntime" else segexport.rebuild(odd, tmp_path / "odd", engine=engine)
        assert bundle.manifest.engine.class_map == ON_HOST
        images = np.stack([picture(seed, bundle) for seed in range(3)])
        with open_runner(bundle) as runner:
            found = {count: runner.run(images[:count])["mask"] for count in (2, 3, 1)}
        assert found[3].shape == (3, 101, 77)
        for count in (1, 2):
            assert (found[count] == found[3][:count]).mean() > 0.999
        assert (found[3][0] != found[3][1]).any()
        monkeypatch.setitem(sys.modules, "segexport.native._class_map", None)
        inside = segexport.rebuild(odd, tmp_path / "inside", engine=engine)
        assert inside.manifest.engine.class_map == "graph"
        assert (masks(inside, images) == found[3]).mean() > 0.9998

    def test_results_are_the_callers_and_images_are_read_when_asked(self, each: dict[str, Bundle], engine: str) -> None:
        bundle = each[engine]
        one, other = picture(1, bundle)[None], picture(2, bundle)[None]
        with open_runner(bundle) as runner:
            first = runner.run(one)["mask"]
            kept = first.copy()
            second = runner.run(other)["mask"]
            assert (kept != second).any()
            np.testing.assert_array_equal(first, kept)
            first[:] = 0
            np.testing.assert_array_equal(runner.run(other)["mask"], second)
            read_only = one.copy()
            read_only.flags.writeable = False
            np.testing.assert_array_equal(runner.run(read_only)["mask"], kept)
            reversed_twice = one[..., ::-1].copy()[..., ::-1]
            assert not reversed_twice.flags.c_contiguous
            np.testing.assert_array_equal(runner.run(reversed_twice)["mask"], kept)
            runner.stage(one.copy())  # nobody but the runner holds it
            runner.execute()
            np.testing.assert_array_equal(runner.fetch()["mask"], kept)


@pytest.mark.parametrize("which", ["bundle", "odd"])
def test_every_block_is_fused_for_onnx_runtime(which: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    done = {result.name: result for result in bundle.manifest.engine.rewrites}
    for name in ("fuse-gelu", "fuse-attention"):
        assert (len(done[name].rewritten), done[name].declined) == (4, ()), name
    left = {node.op_type for node in open_graph(bundle.engine_graph).model.graph}
    assert not {"Erf", "Softmax", "Div"} & left
    assert {"Gelu", "MultiHeadAttention"} <= left


class TestCache:
    """OpenVINO keeps the compiled model beside the graph, where it can."""

    @pytest.fixture
    def folder(self, each: dict[str, Bundle], tmp_path: Path) -> Path:
        return shutil.copytree(each["openvino"].folder, tmp_path / "copy")

    @pytest.fixture
    def want(self, each: dict[str, Bundle]) -> np.ndarray:
        return masks(each["openvino"], picture(1, each["openvino"])[None])

    def opened(self, folder: Path) -> np.ndarray:
        bundle = open_bundle(folder)
        return masks(bundle, picture(1, bundle)[None])

    def test_a_new_bundle_has_none(self, bundle: Bundle, tmp_path: Path) -> None:
        built = segexport.rebuild(bundle, tmp_path / "new", engine="openvino")
        assert not built.cache.exists()

    def test_it_is_written_once_and_may_be_deleted(self, folder: Path, want: np.ndarray) -> None:
        cache = folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        np.testing.assert_array_equal(self.opened(folder), want)
        written = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
        assert written
        np.testing.assert_array_equal(self.opened(folder), want)
        assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == written
        shutil.rmtree(cache)
        np.testing.assert_array_equal(self.opened(folder), want)

    @pytest.mark.parametrize("length", [0, 1000, -1000], ids=["empty", "cut short", "its end missing"])
    def test_half_a_cache_is_none(self, folder: Path, want: np.ndarray, length: int) -> None:
        self.opened(folder)
        for path in (folder / "cache").iterdir():
            path.write_bytes(path.read_bytes()[:length])
        np.testing.assert_array_equal(self.opened(folder), want)

    def test_a_bundle_that_cannot_be_written(
        self, folder: Path, want: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)

        def refuse(self: Path, *args: object, **kwargs: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", refuse)
            np.testing.assert_array_equal(self.opened(folder), want)
        assert not (folder / "cache").exists()
        (folder / "cache").mkdir()
        with monkeypatch.context() as patched:
            patched.setattr("os.access", lambda path, mode: False)
            np.testing.assert_array_equal(self.opened(folder), want)
        assert not list((folder / "cache").iterdir())
        (folder / "cache").rmdir()
        (folder / "cache").write_text("a file")
        np.testing.assert_array_equal(self.opened(folder), want)


class TestBf16:
    @pytest.fixture
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A CPU that does not have it."""
        here = info("openvino")
        found = dataclasses.replace(here, precisions=("fp32",))
        monkeypatch.setattr("segexport.engines.openvino.info", lambda: found)

    @pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
    @pytest.mark.usefixtures("without")
    def test_is_refused_before_anything_is_read(self, engine: str, bundle: Bundle, tmp_path: Path) -> None:
        message = r"comput\w+ in bf16 on this machine: it takes --engine openvino on a CPU with AMX or AVX512_BF16"
        with pytest.raises(EngineUnavailable, match=message):
            segexport.build("no/such/checkpoint", tmp_path / "out", engine=engine, precision="bf16")
        with pytest.raises(EngineUnavailable, match=message):
            segexport.rebuild(bundle, tmp_path / "out", engine=engine, precision="bf16")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("source", ["--from-bundle", "--model"])
    @pytest.mark.usefixtures("without")
    def test_is_refused_in_one_line(self, source: str, bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
        done = run_cli("build", source, bundle.folder, "--precision", "bf16", "-o", tmp_path / "out")
        assert done.code == 2
        assert done.out == ""
        (line,) = done.err.strip().splitlines()
        assert line.startswith("error: no engine computes in bf16 on this machine: ")
        assert line.endswith("pass --precision fp32")
        assert not list(tmp_path.iterdir())

    @pytest.mark.usefixtures("without")
    def test_a_bundle_from_another_machine_is_refused(self, each: dict[str, Bundle]) -> None:
        made = each["openvino"]
        elsewhere = Bundle(made.folder, dataclasses.replace(made.manifest, precision="bf16"))
        with pytest.raises(EngineUnavailable, match="openvino does not compute in bf16 on this machine"):
            open_runner(elsewhere)

    def test_another_precision_there_is_none(self, bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
        with pytest.raises(segexport.errors.ContractError, match="pass --precision fp32 or bf16"):
            segexport.rebuild(bundle, tmp_path / "out", precision="fp64")  # type: ignore[arg-type]
        assert run_cli("build", "-m", "x", "--precision", "fp64", "-o", tmp_path / "out").code == 2
        assert not list(tmp_path.iterdir())

    @pytest.mark.skipif(
        not HAS_BF16, reason="this CPU does not compute in bf16 (OpenVINO finds neither AMX nor AVX512_BF16)"
    )
    def test_agrees_with_fp32(self, each: dict[str, Bundle], tmp_path: Path) -> None:
        built = segexport.rebuild(each["openvino"], tmp_path / "bf16", precision="bf16")
        assert built.manifest.precision == "bf16"
        assert built.manifest.engine.name == "openvino", "auto takes what computes in it"
        images = [picture(seed, built)[None] for seed in range(8)]
        with open_runner(built) as half, open_runner(each["openvino"]) as whole:
            pairs = [(half.run(image)["mask"], whole.run(image)["mask"]) for image in images]
        equal = np.mean([one == other for one, other in pairs])
        assert equal >= 0.99
        again = segexport.rebuild(built, tmp_path / "again")
        assert again.manifest.precision == "bf16", "kept where no other is asked for"
        fp32 = segexport.rebuild(built, tmp_path / "fp32", engine="openvino", precision="fp32")
        np.testing.assert_array_equal(masks(fp32, images[0]), pairs[0][1])

    @pytest.mark.skipif(HAS_BF16, reason="this CPU computes in bf16")
    def test_this_cpu_says_it_has_none(self, bundle: Bundle, tmp_path: Path) -> None:
        assert "bf16" not in engines.info("openvino").precisions
        with pytest.raises(EngineUnavailable, match="bf16"):
            segexport.rebuild(bundle, tmp_path / "out", engine="openvino", precision="bf16")


@pytest.mark.slow
def test_real_images_score_the_same(camvid: Path, camvid_checkpoint: Path, tmp_path: Path) -> None:
    """Trained weights on street images: five of them, both engines, against the graph as it was exported."""
    plain = segexport.build(
        camvid_checkpoint, tmp_path / "plain", engine="onnxruntime", size=(360, 480), rewrites=False
    )
    own = segexport.build(camvid_checkpoint, tmp_path / "own", engine="onnxruntime", size=(360, 480))
    other = segexport.rebuild(own, tmp_path / "other", engine="openvino")
    data = open_data(camvid / "test", plain.manifest.labels, limit=5)
    scores = []
    for bundle in (plain, own, other):
        counts = ConfusionMatrix(len(bundle.manifest.labels))
        found = []
        with segexport.open(bundle) as net:
            for index in range(len(data)):
                sample = data.sample(index)
                mask = net.run(sample.image).mask
                assert mask is not None
                assert sample.mask is not None
                counts.update(sample.mask, mask)
                found.append(mask)
        scores.append((counts.miou(), np.stack(found)))
    (miou, want), *rewritten = scores
    assert miou > 0.3, "trained weights see something"
    for score, found in rewritten:
        assert round(score, 4) == round(miou, 4)
        assert (found == want).mean() >= 0.9999
