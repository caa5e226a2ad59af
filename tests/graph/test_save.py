"""A file that is written tensor by tensor is the one that a whole message would have been."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segexport.graph.build import Writer
from segexport.graph.save import check_model, save_model


def model_of(sizes: list[int], dtype: type[np.generic] = np.float32) -> ir.Model:
    """A sum of vectors, small constants and large ones in turn."""
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 18}, name="sums")
    writer = Writer(graph, "sum")
    for size in sizes:
        constant = writer.constant(np.arange(size), "constant", dtype)
        if dtype is not np.float32:
            constant = writer.op("Cast", [constant], shape=[size], to=int(ir.DataType.FLOAT))
        value = writer.op("Add", [value, constant], shape=[size])
    value.name = "y"
    graph.outputs.append(value)
    model = ir.Model(graph, ir_version=10, producer_name="tests")
    model.metadata_props["key"] = "value"
    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64])
def test_the_file_is_an_ordinary_one(dtype: type[np.generic], tmp_path: Path) -> None:
    model = model_of([1, 1, 5000, 5000, 5000], dtype)
    save_model(model, tmp_path / "ours.onnx")
    ir.save(model, tmp_path / "whole.onnx")
    ours, whole = onnx.load(tmp_path / "ours.onnx"), onnx.load(tmp_path / "whole.onnx")
    onnx.checker.check_model(ours, full_check=True)
    tensors = [{tensor.name: tensor for tensor in one.graph.initializer} for one in (ours, whole)]
    assert tensors[0] == tensors[1]
    assert len(ours.graph.initializer) == len(whole.graph.initializer) == 5
    for one in (ours, whole):
        del one.graph.initializer[:]
        del one.graph.value_info[:]  # a whole message has one for each tensor, which says its shape a second time
    assert ours == whole


@given(st.integers(200, 300) | st.integers(4000, 4200) | st.integers(500_000, 530_000))
def test_any_length_is_framed(size: int) -> None:
    """Around the sizes from which on a length takes another byte, and from which on a tensor is large."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_model(model_of([1, size]), path)
        found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    np.testing.assert_array_equal(found["sum.constant_1"], np.arange(size, dtype=np.float32))


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = model_of([1, 5000])
    before = dict(model.graph.initializers)
    save_model(model, tmp_path / "one.onnx")
    check_model(model)
    assert dict(model.graph.initializers) == before
    save_model(model, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_a_wrong_shape_is_found(tmp_path: Path) -> None:
    model = model_of([1, 5000])
    model.graph.outputs[0].shape = ir.Shape([4000])
    with pytest.raises(onnx.shape_inference.InferenceError):
        check_model(model)
