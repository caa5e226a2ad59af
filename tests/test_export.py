"""The graph and the contract around it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

import segexport
from segexport import scenes
from segexport.contracts import contract_for
from segexport.errors import BundleCorrupt, ContractError
from segexport.graph.graph import open_graph
from segexport.segformer.network import OPSET
from segexport.spec import DYNAMIC, Contract, Grid, contract_from_json, format_size, parse_size, to_json
from tests.support.checkpoints import SIZE
from tests.support.edits import edit_tensors
from tests.support.handmade import graph_of

# What TensorRT's parsers take of what we emit; nothing data-dependent, no quantised integer operators.
TENSORRT_TAKES = {
    *("Add", "ArgMax", "Cast", "Clip", "Concat", "Conv", "Div", "Erf", "Floor", "Gather", "LayerNormalization"),
    *("MatMul", "Mul", "Pad", "ReduceMax", "Relu", "Reshape", "Resize", "Shape", "Slice", "Softmax", "Sub", "TopK"),
    "Transpose",
}


CAMERA = {"source_size": (135, 240), "resize_mode": "letterbox"}


@pytest.fixture(scope="module", params=["static", "dynamic", "dynamic camera"])
def saved(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    batch = 1 if request.param == "static" else DYNAMIC
    camera = CAMERA if "camera" in request.param else {}
    segexport.export(checkpoint, size=SIZE, batch=batch, output="scores", channel_order="bgr", **camera).save(path)
    return path


@pytest.mark.bundle
def test_the_graph_is_what_targets_take(saved: Path) -> None:
    onnx.checker.check_model(saved, full_check=True)
    model = onnx.load(saved)
    assert {node.op_type for node in model.graph.node} <= TENSORRT_TAKES
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    readers = [node.op_type for node in model.graph.node if image.name in node.input]
    assert readers == ["Cast"], "only Cast may touch uint8 in TensorRT"
    for node in model.graph.node:
        if node.op_type == "Resize":
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            assert attributes.get("antialias", 0) == 0
        assert all(a.name != "allowzero" or a.i == 0 for a in node.attribute)


@pytest.mark.bundle
def test_a_lone_file_explains_itself(saved: Path, checkpoint: Path) -> None:
    graph = open_graph(saved)
    loaded = segexport.load(checkpoint)
    assert graph.labels == loaded.labels
    assert graph.preprocessing == loaded.preprocessing
    assert graph.source == loaded.source
    assert graph.contract.channel_order == "bgr"
    assert graph.rewrites[0].name == "fold-decode-head"
    assert graph.rewrites[0].rewritten


@pytest.mark.bundle
def test_nodes_are_named_by_the_module_they_come_from(saved: Path) -> None:
    names = [node.name for node in onnx.load(saved).graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("segformer.stages.0.blocks.0.attention.q_proj/MatMul") for name in names)
    text = saved.read_bytes()
    assert str(Path(segexport.__file__).parent).encode() not in text, "a path of the machine that built it"


def test_a_foreign_graph_is_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "foreign.onnx")
    with pytest.raises(BundleCorrupt, match="not written by segexport"):
        open_graph(tmp_path / "foreign.onnx")


@pytest.mark.bundle
def test_ties_go_to_the_lowest_class(checkpoint: Path, tmp_path: Path) -> None:
    """A head whose logits are all equal: every engine must say class 0, as torch.argmax does."""

    def equal(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        head = "decode_head.classifier"
        weight, bias = tensors[f"{head}.weight"], tensors[f"{head}.bias"]
        return {**tensors, f"{head}.weight": np.zeros_like(weight), f"{head}.bias": np.full_like(bias, 0.25)}

    folder = shutil.copytree(checkpoint, tmp_path / "equal")
    edit_tensors(folder, equal)
    bundle = segexport.build(folder, tmp_path / "ort", engine="onnxruntime", size=SIZE)
    for engine in ("onnxruntime", "openvino"):
        other = bundle if engine == "onnxruntime" else segexport.rebuild(bundle, tmp_path / engine, engine=engine)
        with segexport.open(other) as net:
            assert net.run(scenes.scene(0, SIZE)[0]).mask.max() == 0


@pytest.mark.bundle
def test_preprocessing_in_the_graph_is_the_processors(checkpoint: Path) -> None:
    """The normalised tensor itself, not only the mask behind it."""
    from segexport.engines.pytorch import image_processor

    graph = segexport.export(checkpoint, size=SIZE, rewrites=False)
    model = onnx.load_from_string(_serialised(graph))
    convolution = next(n for n in model.graph.node if n.op_type == "Conv")
    model.graph.output.append(onnx.helper.make_tensor_value_info(convolution.input[0], onnx.TensorProto.FLOAT, None))
    image = scenes.scene(1, SIZE)[0]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([convolution.input[0]], {"image": image[None]})[0]
    loaded = segexport.load(checkpoint)
    want = image_processor(loaded)(images=image, do_resize=False, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(found, want, atol=2e-6)
    assert -2.2 < found.min() < found.max() < 2.7


def _serialised(graph) -> bytes:
    import onnx_ir as ir

    return ir.to_proto(graph.model).SerializeToString()


def test_contract_defaults_and_refusals(checkpoint: Path, classifier: Path) -> None:
    loaded, ranker = segexport.load(checkpoint), segexport.load(classifier)
    assert contract_for(loaded) == Contract(SIZE, mask_size=SIZE), "the processor's own size"
    assert contract_for(loaded, size=(97, 131), mask_size="network").mask_size == (25, 33)
    assert contract_for(ranker).output == "topk"
    assert contract_for(ranker).mask_size is None
    with pytest.raises(ContractError, match="mask"):
        contract_for(ranker, output="mask")
    with pytest.raises(ContractError, match="topk"):
        contract_for(loaded, output="topk")
    with pytest.raises(ContractError, match="32x32"):
        contract_for(loaded, size=(31, 64))
    with pytest.raises(ContractError, match="batch"):
        contract_for(loaded, batch=0)


@given(st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
def test_sizes_are_read_as_they_are_written(size: tuple[int, int]) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "x", "512x", "axb", "1x2x3", "-5x5", "5.5x5"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize("patch", [7, 3, 4, 1])
@pytest.mark.parametrize("stride", [4, 2, 3, 5])
def test_the_network_grid_is_the_models(stride: int, patch: int) -> None:
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[4, 4],
        num_attention_heads=[1, 1],
        mlp_ratios=[1, 1],
        patch_sizes=[patch, 3],
        strides=[stride, 2],
        decoder_hidden_size=4,
        num_labels=2,
    )
    model = SegformerForSemanticSegmentation(config).eval()
    for size in ((97, 131), (64, 96), (129, 65), (34, 47)):
        with torch.inference_mode():
            logits = model(pixel_values=torch.zeros(1, 3, *size)).logits
        assert tuple(logits.shape[2:]) == Grid(patch, stride).of(size)


@given(patch=st.integers(1, 99), stride=st.integers(1, 99), size=st.tuples(st.integers(32, 300), st.integers(32, 300)))
def test_a_grid_has_as_many_logits_as_patches_fit(patch: int, stride: int, size: tuple[int, int]) -> None:
    edge = patch // 2
    counts = tuple(len(range(-edge, side + edge - patch + 1, stride)) for side in size)
    assert Grid(patch, stride).of(size) == counts
    assert Grid().of(size) == (-(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize("numbers", [(0, 4), (7, 0), (7, -4)])
def test_what_is_no_grid_is_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(
        ContractError, match=r"patch -?\d and stride -?\d cannot be served: .* in the checkpoint's config"
    ):
        Grid(*numbers)


def test_a_contract_as_json_and_one_older_than_grids() -> None:
    contract = Contract((64, 96), mask_size=(32, 48), grid=Grid(3, 2))
    content = to_json(contract)
    assert content["grid"] == {"patch": 3, "stride": 2}
    assert contract_from_json(content) == contract
    del content["grid"]
    assert contract_from_json(content) == dataclasses.replace(contract, grid=Grid(7, 4))
    with pytest.raises(TypeError, match="cell"):
        contract_from_json({**content, "grid": {"cell": 4}})


def test_a_graph_keeps_its_grid_and_an_older_one_has_the_published(tmp_path: Path) -> None:
    graph = graph_of("(float[1] x) => (float[1] y)", "y = Identity(x)", {})
    graph.contract = dataclasses.replace(graph.contract, grid=Grid(3, 2))
    graph.save(tmp_path / "new.onnx")
    assert open_graph(tmp_path / "new.onnx").contract.grid == Grid(3, 2)
    model = onnx.load(tmp_path / "new.onnx")
    (facts,) = (entry for entry in model.metadata_props if entry.key == "segexport.contract")
    contract = json.loads(facts.value)
    del contract["grid"]
    facts.value = json.dumps(contract)
    onnx.save(model, tmp_path / "old.onnx")
    assert open_graph(tmp_path / "old.onnx").contract.grid == Grid(7, 4)
