"""Calibration on images: what it records is what was there, and what cannot be used is refused with a reason."""

from __future__ import annotations

import json
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from PIL import Image

import segexport
from segexport import scenes
from segexport.bundle import CALIBRATION, ENGINE_GRAPH, MODEL, PLACEMENT, Bundle, open_bundle
from segexport.calibration import MEASURED, PlainImage, calibrate_graph, peaks_of_graph, probes
from segexport.calibration.gathering import gather_peaks, gather_ranges
from segexport.calibration.running import AT_ONCE
from segexport.calibration.sampling import Picture
from segexport.calibration.sources import ranges_for
from segexport.datasets import Sample
from segexport.errors import DataError, PrecisionError
from segexport.graph.graph import Graph, open_graph
from segexport.passes.match import scope_of
from segexport.precision.layers import layers
from segexport.precision.ranges import METHODS, PEAKS_ONLY, Ranges, read_ranges
from segexport.spec import Precision
from tests.support.checkpoints import SIZE
from tests.support.cli import RunCli, assert_refused, everything
from tests.support.handmade import modules

pytestmark = pytest.mark.bundle


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> Graph:
    """The small bundle's portable graph."""
    return open_graph(bundle.model)


@pytest.fixture(scope="module")
def ranges(graph: Graph, data: Path) -> Ranges:
    """Its ranges on the three scenes, unrounded: what is read from a file is not."""
    return segexport.calibrate(graph, data)


@pytest.fixture(scope="module")
def int8(bundle: Bundle, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle in INT8."""
    out = tmp_path_factory.mktemp("int8") / "int8"
    return segexport.rebuild(bundle, out, engine="onnxruntime", precision="int8", calibration=ranges)


@pytest.fixture(scope="module")
def every_value(graph: Graph, data: Path) -> dict[str, list[np.ndarray]]:
    """Every float activation of the graph on each of the scenes, all of them outputs."""
    model = graph.model.clone()
    values = [value for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = []
    for path in sorted((data / "images").iterdir()):
        with Image.open(path) as image:
            found.append(session.run(None, {"image": np.asarray(image)[None]}))
    return {value.name or "": list(arrays) for value, arrays in zip(values, zip(*found, strict=True), strict=True)}


def test_ranges_are_those_of_all_images(graph: Graph, ranges: Ranges, every_value: dict[str, list[np.ndarray]]) -> None:
    found = list(layers(graph.model.graph))
    assert set(ranges.layers) == {layer.name for layer in found}
    for layer in found:
        arrays, entry = every_value[layer.input.name], ranges.layers[layer.name]
        assert entry.low == min(0, *(array.min() for array in arrays))
        assert entry.high == max(0, *(array.max() for array in arrays))
        assert entry.thresholds["min-max"] == max(np.abs(array).max() for array in arrays)
        assert set(entry.thresholds) == set(entry.sqnr_db) == set(METHODS)
        assert all(0 < value <= entry.thresholds["min-max"] for value in entry.thresholds.values())


def test_peaks_are_those_of_all_images(graph: Graph, ranges: Ranges, every_value: dict[str, list[np.ndarray]]) -> None:
    wanted: dict[str, float] = {}
    for node in graph.model.graph:
        if node.op_type in ("Reshape", "Transpose", "Cast", "Slice"):
            continue  # nothing new: their numbers are their inputs'
        for value in node.outputs:
            for array in every_value.get(value.name, []):
                wanted[scope_of(node)] = max(wanted.get(scope_of(node), 0.0), float(np.abs(array).max()))
    # The planes at the image's size reach no further than the logits that they are interpolated from.
    assert wanted["postprocess"] <= ranges.peaks["postprocess"] == wanted["decode_head.classifier"]
    assert ranges.peaks == {**wanted, "postprocess": wanted["decode_head.classifier"]}
    assert ranges.peaks["preprocess"] > 100


def test_it_says_what_it_is_of(graph: Graph, ranges: Ranges, data: Path) -> None:
    ranges.require_for(graph)
    images = ranges.images
    assert (images.path, images.count, images.of, images.seed) == (str(data), 3, 3, 0)
    assert set(ranges.network_sqnr_db) == {"mixed", *METHODS}
    assert ranges.chosen == max(ranges.network_sqnr_db, key=ranges.network_sqnr_db.__getitem__)
    used = {entry.method for entry in ranges.layers.values()}
    assert used == {ranges.chosen} or ranges.chosen == "mixed"


def test_the_draw_follows_the_seed(graph: Graph, tmp_path: Path) -> None:
    folder = scenes.write_dataset(tmp_path / "scenes", 6, seed=5, size=SIZE)
    first, again, other = (ranges_for(graph, "fp16", folder / "images", samples=2, seed=seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.as_text() == again.as_text()
    assert (first.images.count, first.images.of) == (2, 6)
    assert first.images.sha256 != other.images.sha256


class Watched:
    """Scenes that tell in which order they were read, and how many were alive each time."""

    name = "watched"

    def __init__(self, count: int) -> None:
        self.order: list[int] = []
        self.alive: list[int] = []
        self._count = count
        self._images: list[weakref.ref[np.ndarray]] = []

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int) -> Sample:
        image = scenes.scene(index, SIZE)[0]
        self._images.append(weakref.ref(image))
        self.order.append(index)
        self.alive.append(sum(one() is not None for one in self._images))
        return Sample(f"scene {index}", image, None)

    def sha256(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("gather", "count", "compared"),
    [(calibrate_graph, 3, 3), (calibrate_graph, 24, MEASURED), (peaks_of_graph, 24, 0)],
)
def test_images_are_read_once_and_let_go_and_progress_tells_of_true_numbers(
    graph: Graph, gather: Callable[..., Ranges], count: int, compared: int
) -> None:
    """Methods are compared on a few images: one run for the layers' outputs, one for each method, one for all."""
    images, told = Watched(count), list[str]()
    gather(graph, images, progress=told.append)
    assert images.order == [*range(count)]
    assert max(images.alive) <= compared + AT_ONCE + 1, "those compared on, those being run, and the one just read"
    gathered = [f"calibrating: image {number} of {count}" for number in range(1, count + 1)]
    runs = compared * (2 + len(METHODS))
    assert told == gathered + [f"comparing methods: run {number} of {runs}" for number in range(1, runs + 1)]


def test_peaks_alone_are_those_of_the_whole_table(graph: Graph, data: Path, ranges: Ranges) -> None:
    found = ranges_for(graph, "fp16", data)
    assert found is not None
    assert found.peaks == ranges.peaks
    assert list(found.peaks) == list(ranges.peaks)
    assert found.images == ranges.images
    assert (found.layers, found.network_sqnr_db, found.chosen) == ({}, {}, PEAKS_ONLY)
    found.require_for(graph)


@pytest.mark.parametrize(
    "contract",
    ["a camera's images", pytest.param("logits of the network", marks=pytest.mark.slow), "classifier", "its logits"],
)
def test_every_contract(contract: str, checkpoint: Path, classifier: Path) -> None:
    """Where the image is resized by products with constants, and where the logits are the output themselves."""
    settings = {
        "a camera's images": {"source_size": (135, 240), "resize_mode": "letterbox"},
        "logits of the network": {"output": "logits", "mask_size": "network", "batch": 2},
        "classifier": {},
        "its logits": {"output": "logits"},
    }[contract]
    model = checkpoint if contract in ("a camera's images", "logits of the network") else classifier
    graph = segexport.export(model, size=SIZE, **settings)
    found = calibrate_graph(graph, Watched(2))
    assert found.image_size == graph.contract.image_size
    assert not any(name.startswith(("preprocess", "postprocess")) for name in found.layers)
    assert found.network_sqnr_db["min-max"] > 10


def write_images(folder: Path, plain: int, varied: int) -> Path:
    folder.mkdir()
    for index in range(plain):
        Image.new("RGB", SIZE[::-1], (index, 90, 200)).save(folder / f"plain{index}.png")
    for index in range(varied):
        Image.fromarray(scenes.scene(index, SIZE)[0]).save(folder / f"scene{index}.png")
    return folder


def test_plain_images(graph: Graph, tmp_path: Path) -> None:
    """When most are of one colour nothing can be learnt of them; a few among others are worth a word."""
    most, some = write_images(tmp_path / "most", 2, 1), write_images(tmp_path / "some", 1, 1)
    with pytest.raises(DataError, match=r"2 of 3 images of .*most are of one constant colour, which tells no ranges"):
        segexport.calibrate(graph, most)
    with pytest.warns(PlainImage, match=r"1 of 2 images of .*some are of one constant colour"):
        segexport.calibrate(graph, some)


def with_number(graph: Graph, name: str, number: float) -> Graph:
    """A copy whose constant `name` ends with another number."""
    spoilt = graph.copy()
    value = spoilt.model.graph.initializers[name]
    numbers = value.const_value.numpy().copy()
    numbers.flat[-1] = number
    value.const_value = ir.tensor(numbers, name=name)
    return spoilt


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["preprocess.first_weight", "segformer.stages.1.layer_norm.weight", "decode_head.classifier.weight"]
)
def test_weights_that_are_no_numbers(graph: Graph, data: Path, name: str, number: float) -> None:
    """Wherever the one is, also where its activations would be lost on the way to what is measured."""
    with pytest.raises(
        PrecisionError, match=rf"1 of \d+ numbers of {name} are NaN or infinite: the checkpoint is brok"
    ):
        segexport.calibrate(with_number(graph, name, number), data)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_activations_that_are_no_numbers(graph: Graph, data: Path, precision: Precision) -> None:
    """Weights that are numbers, but so large that FP32 cannot hold what they make."""
    name = "segformer.stages.1.patch_embeddings.proj.weight"
    complaint = r"activations of segformer\.stages\.1\.patch_embeddings\.proj are NaN or infinite in FP32 on image 0000"
    with pytest.raises(PrecisionError, match=complaint):
        ranges_for(with_number(graph, name, 3e38), precision, data)


@pytest.mark.parametrize("gather", [gather_peaks, gather_ranges])
@pytest.mark.parametrize("place", [0, 1, 20, 47])
def test_a_single_nan_among_numbers(gather: Callable[..., object], place: int) -> None:
    """Wherever it is: ONNX Runtime's largest and smallest number may both pass over it."""
    body = "f = Cast<to=1> (image) divided = Div (f, f) product = MatMul (divided, w)"
    constants = {"w": np.zeros((3, 2), np.float32)}
    graph = modules("(uint8[1, 4, 4, 3] image) => (float[1, 4, 4, 2] product)", body, constants)
    batch = np.full((1, 4, 4, 3), 7, np.uint8)
    gather(graph, [Picture("seven", batch)], lambda: None)
    batch.flat[place] = 0
    with pytest.raises(PrecisionError, match=r"activations of .* are NaN or infinite in FP32 on image holed: the weig"):
        gather(graph, [Picture("holed", batch)], lambda: None)


def broken_checkpoint(checkpoint: Path, folder: Path) -> Path:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("classifier.bias"))
    tensors[name][:] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class TestCommand:
    def test_it_writes_a_table(
        self, run_cli: RunCli, bundle: Bundle, data: Path, ranges: Ranges, tmp_path: Path
    ) -> None:
        command = ("calibrate", "--from-bundle", bundle.folder, "--data", data, "--out", tmp_path / "table.json")
        outcome = run_cli(*command)
        assert outcome.code == 0, outcome.err
        assert read_ranges(tmp_path / "table.json").as_text() == ranges.as_text()
        for line in ("images     3 of 3", "layers     ", "methods    ", "logits     ", "peak       "):
            assert line in outcome.out
        (tmp_path / "table.json").write_text("mine")
        assert_refused(run_cli(*command), r"table\.json exists: pass --overwrite")
        assert (tmp_path / "table.json").read_text() == "mine"
        assert run_cli(*command, "--overwrite").code == 0
        assert (tmp_path / "table.json").read_text() == ranges.as_text()

    @pytest.mark.parametrize(
        ("plain", "varied", "options", "complaint"),
        [
            (0, 0, [], "holds neither images/ and masks/ nor"),
            (0, 2, ["--samples", "3"], "holds 2 images, fewer than --samples 3: ask for at most 2"),
            (2, 1, [], "2 of 3 images of .* are of one constant colour"),
        ],
    )
    def test_images(self, run_cli: RunCli, bundle: Bundle, tmp_path: Path, plain, varied, options, complaint) -> None:
        data = write_images(tmp_path / "images", plain, varied)
        before = everything(tmp_path)
        command = ("calibrate", "--from-bundle", bundle.folder, "--data", data, "--out", tmp_path / "table.json")
        assert_refused(run_cli(*command, *options), complaint)
        build = ("build", "--from-bundle", bundle.folder, "--precision", "int8", "--engine", "onnxruntime")
        assert_refused(run_cli(*build, "--calibration", data, "--out", tmp_path / "out", *options), complaint)
        assert everything(tmp_path) == before

    def test_weights_that_are_no_numbers(self, run_cli: RunCli, checkpoint: Path, data: Path, tmp_path: Path) -> None:
        folder = broken_checkpoint(checkpoint, tmp_path / "broken")
        for command in (
            ("calibrate", "--data", data, "--out", tmp_path / "table.json"),
            ("build", "--precision", "fp16", "--engine", "onnxruntime", "--out", tmp_path / "out"),
        ):
            assert_refused(run_cli(*command, "--model", folder), "holds NaN or infinity")
        assert {path.name for path in tmp_path.iterdir()} == {"broken"}

    def test_int8_without_images_is_refused_before_any_work(
        self, run_cli: RunCli, bundle: Bundle, tmp_path: Path
    ) -> None:
        for source in (("--model", tmp_path / "nowhere"), ("--from-bundle", bundle.folder)):
            outcome = run_cli("build", *source, "--precision", "int8", "--out", tmp_path / "out")
            assert_refused(outcome, "int8 needs the ranges of activations on your images: pass --calibration")
            assert len(outcome.err.strip().splitlines()) == 1, "no step was begun"
        assert everything(tmp_path) == {}

    @pytest.mark.parametrize(
        ("entry", "value", "complaint"),
        [
            ("weights_sha256", "ab" * 32, r"was made from other weights \(abababababab\) than the checkpoint's"),
            ("size", [32, 48], "is of a network of 32x48 on images of 64x96, the graph of 64x96 on 64x96"),
            ("image_size", [720, 960], "is of a network of 64x96 on images of 720x960"),
            ("schema", 9, "has schema 9, this segexport reads 1"),
        ],
    )
    @pytest.mark.parametrize("precision", ["int8", "fp16"])
    def test_a_table_of_something_else(
        self, run_cli: RunCli, bundle: Bundle, ranges: Ranges, tmp_path: Path, precision, entry, value, complaint
    ) -> None:
        content = json.loads(ranges.as_text())
        (tmp_path / "table.json").write_text(json.dumps({**content, entry: value}))
        before = everything(tmp_path)
        command = ("build", "--from-bundle", bundle.folder, "--precision", precision, "--engine", "onnxruntime")
        outcome = run_cli(*command, "--calibration", tmp_path / "table.json", "--out", tmp_path / "out")
        assert_refused(outcome, complaint)
        assert everything(tmp_path) == before

    def test_a_table_of_peaks_alone(
        self, run_cli: RunCli, bundle: Bundle, data: Path, ranges: Ranges, tmp_path: Path
    ) -> None:
        """What an fp16 bundle keeps makes fp16 again, for any engine, but not int8."""
        build = ("build", "--from-bundle", bundle.folder, "--engine", "onnxruntime")
        made = run_cli(*build, "--precision", "fp16", "--calibration", data, "--out", tmp_path / "fp16")
        assert made.code == 0, made.err
        table = tmp_path / "fp16" / CALIBRATION
        assert read_ranges(table).layers == {}
        assert read_ranges(table).peaks == pytest.approx(ranges.peaks, rel=1e-6)
        again = run_cli(*build, "--precision", "fp16", "--calibration", table, "--out", tmp_path / "again")
        assert again.code == 0, again.err
        assert (tmp_path / "again" / MODEL).read_bytes() == (tmp_path / "fp16" / MODEL).read_bytes()
        before = everything(tmp_path)
        outcome = run_cli(*build, "--precision", "int8", "--calibration", table, "--out", tmp_path / "int8")
        complaint = (
            rf"{re.escape(str(table))} holds the peaks that fp16 needs, and no ranges of layers for int8: "
            "make a whole table with segexport calibrate, or pass the folder of images"
        )
        assert_refused(outcome, complaint)
        assert everything(tmp_path) == before

    def test_a_placement_of_something_else(
        self, run_cli: RunCli, bundle: Bundle, ranges: Ranges, tmp_path: Path
    ) -> None:
        ranges.save(tmp_path / "table.json")
        (tmp_path / "placement.json").write_text('{"int8": ["backbone.conv1"]}')
        before = everything(tmp_path)
        command = ("build", "--from-bundle", bundle.folder, "--precision", "int8", "--out", tmp_path / "out")
        tables = ("--calibration", tmp_path / "table.json", "--placement", tmp_path / "placement.json")
        assert_refused(run_cli(*command, *tables), "names backbone.conv1, which is no layer of this network")
        assert everything(tmp_path) == before


class TestRebuild:
    def test_what_an_int8_bundle_holds(self, int8: Bundle, bundle: Bundle, ranges: Ranges) -> None:
        assert read_ranges(int8.folder / CALIBRATION).as_text() == ranges.as_text()
        manifest = int8.manifest
        assert manifest.precision == "int8"
        assert manifest.engine.derived
        assert set(json.loads((int8.folder / PLACEMENT).read_text())["int8"]) >= set(manifest.engine.int8) > set()
        assert manifest.lowering is not None
        depthwise = {name for name in manifest.engine.int8 if name.endswith("dwconv")}
        assert len(depthwise) == 4
        assert not depthwise & set(manifest.lowering.int8), "TensorRT would make dense ones of them"
        assert manifest.lowering.images_sha256 == ranges.images.sha256
        agreement = manifest.golden["agreement_with_reference"]
        assert 0.7 < agreement <= 1, "random weights: many pixels are close calls"

    def test_the_same_again_is_a_copy(self, int8: Bundle, tmp_path: Path) -> None:
        again = segexport.rebuild(int8, tmp_path / "again")  # auto is the engine it was made for
        assert again.manifest.engine.name == "onnxruntime"
        for name in (MODEL, ENGINE_GRAPH, CALIBRATION, PLACEMENT):
            assert (again.folder / name).read_bytes() == (int8.folder / name).read_bytes()
        assert again.manifest == int8.manifest
        assert segexport.selftest(open_bundle(again.folder)).agreement == 1.0

    @pytest.mark.parametrize(
        ("engine", "precision"), [("openvino", "int8"), ("onnxruntime", "fp32"), ("onnxruntime", "fp16")]
    )
    def test_anything_else_is_made_of_fp32(
        self, run_cli: RunCli, int8: Bundle, tmp_path: Path, engine: str, precision: str
    ) -> None:
        command = ("build", "--from-bundle", int8.folder, "--engine", engine, "--precision", precision)
        outcome = run_cli(*command, "--out", tmp_path / "out")
        remedy = r"pass --from-bundle with the fp32 bundle, this one's calibration\.json as --calibration"
        assert_refused(outcome, f"is int8 for onnxruntime, and {precision} for {engine} is made of FP32: {remedy}")
        assert everything(tmp_path) == {}

    def test_the_remedy_works(self, run_cli: RunCli, bundle: Bundle, int8: Bundle, tmp_path: Path) -> None:
        command = ("build", "--from-bundle", bundle.folder, "--engine", "openvino", "--precision", "int8")
        outcome = run_cli(*command, "--calibration", int8.folder / CALIBRATION, "--out", tmp_path / "out")
        assert outcome.code == 0, outcome.err
        other = open_bundle(tmp_path / "out")
        assert set(other.manifest.engine.int8) == set(int8.manifest.engine.int8)
        assert segexport.selftest(other).agreement == 1.0

    @pytest.mark.parametrize(
        ("source", "options", "complaint"),
        [
            ("int8", ["--calibration", "DATA"], "is int8 already, and is copied"),
            ("fp32", ["--calibration", "DATA"], "fp32 takes no --calibration"),
            ("fp32", ["--precision", "fp16", "--placement", "DATA"], "fp16 takes no --placement"),
        ],
    )
    def test_what_would_be_ignored_is_refused(
        self, run_cli: RunCli, bundle: Bundle, int8: Bundle, data: Path, tmp_path: Path, source, options, complaint
    ) -> None:
        folder = {"int8": int8, "fp32": bundle}[source].folder
        options = [data if option == "DATA" else option for option in options]
        assert_refused(run_cli("build", "--from-bundle", folder, "--out", tmp_path / "out", *options), complaint)
        assert everything(tmp_path) == {}

    def test_calibrating_on_a_lowered_bundle(self, run_cli: RunCli, int8: Bundle, data: Path, tmp_path: Path) -> None:
        command = ("calibrate", "--from-bundle", int8.folder, "--data", data, "--out", tmp_path / "table.json")
        assert_refused(run_cli(*command), "is int8: pass a bundle in fp32")

    def test_fp16_without_images(self, bundle: Bundle, tmp_path: Path) -> None:
        """Scenes drawn for it tell where numbers are large."""
        made = segexport.rebuild(bundle, tmp_path / "fp16", engine="onnxruntime", precision="fp16")
        lowering = made.manifest.lowering
        assert lowering is not None
        assert (lowering.images, lowering.fp32, lowering.int8) == ("8 of 8 images of generated scenes", (), ())
        assert not (made.folder / PLACEMENT).exists()
        assert made.engine_graph == made.folder / ENGINE_GRAPH
        assert made.model.stat().st_size < bundle.model.stat().st_size
        assert made.manifest.golden["agreement_with_reference"] > 0.97
        assert segexport.selftest(made).agreement == 1.0


def test_probes_leave_the_graph_alone(graph: Graph) -> None:
    before = ir.to_proto(graph.model).SerializeToString(deterministic=True)
    probes.peaks_probe(graph)
    list(probes.input_probes(graph, with_peaks=True))
    probes.logits_probe(graph)
    probes.errors_probe(graph, {"decode_head.classifier": dict.fromkeys(METHODS, 1.0)})
    assert ir.to_proto(graph.model).SerializeToString(deterministic=True) == before


def test_what_does_not_fit_the_budget_is_run_again(
    graph: Graph, data: Path, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_BUDGET", 1 << 17)
    models = list(probes.input_probes(graph, with_peaks=True))
    assert len(models) > 2
    with_peaks = [model for model, _ in models if {probes.MAXIMA} & {value.name for value in model.graph.outputs}]
    assert with_peaks == [models[0][0]]
    assert segexport.calibrate(graph, data).as_text() == ranges.as_text()


def test_peaks_are_reduced_where_they_are_made(graph: Graph) -> None:
    """So that an activation is let go when the next layer has read it: memory does not grow with depth."""
    nodes = list(probes.peaks_probe(graph)[0].graph)
    reductions = [node for node in nodes if node.op_type in ("ReduceMax", "ReduceMin", "ReduceSumSquare")]
    assert len(reductions) > 100
    for node in reductions:
        maker = node.inputs[0].producer()
        between = nodes[nodes.index(maker) + 1 : nodes.index(node)]
        assert all(other in reductions for other in between)
