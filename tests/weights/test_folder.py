"""A folder's weight files: whichever they are, the same tensors; shards, types, and damage."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from segexport import weights
from segexport.errors import CheckpointError
from tests.support.torch_files import as_torch, saved

NAME = "segformer.encoder.layer_norm.0.bias"
INDEX = {".safetensors": "model.safetensors.index.json", ".bin": "pytorch_model.bin.index.json"}


def tensors() -> dict[str, Any]:
    drawn = np.random.default_rng(0)
    found = {f"segformer.encoder.layer_norm.{i}.bias": drawn.normal(size=4).astype(np.float32) for i in range(4)}
    return {**found, "decode_head.batch_norm.num_batches_tracked": np.array(2**40)}


def write(path: Path, content: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(as_torch(content), path, metadata={"format": "pt"})
    else:
        path.write_bytes(saved(as_torch(content)))


def shard(folder: Path, suffix: str, **changes: str | None) -> list[Path]:
    """The tensors in two shards and an index, whose map is changed."""
    content = tensors()
    names = sorted(content)
    files = [f"model-0000{i}-of-00002{suffix}" for i in (1, 2)]
    for file, part in zip(files, (names[:2], names[2:]), strict=True):
        write(folder / file, {name: content[name] for name in part})
    weight_map = {name: files[0] if name in names[:2] else files[1] for name in names} | changes
    index = {"metadata": {}, "weight_map": {name: file for name, file in weight_map.items() if file}}
    (folder / INDEX[suffix]).write_text(json.dumps(index))
    return weights.find(folder)


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert found[name].tobytes() == tensor.tobytes(), name


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_whole_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, tensors())
    files = weights.find(tmp_path)
    assert files == [tmp_path / name]
    assert_equal(weights.read_tensors(files), tensors())
    assert weights.shapes(files) == {key: list(value.shape) for key, value in tensors().items()}
    (tmp_path / INDEX[Path(name).suffix]).write_text('{"weight_map": {"of another time": "x"}}')
    assert_equal(weights.read_tensors(weights.find(tmp_path)), tensors())


@pytest.mark.parametrize("suffix", INDEX)
def test_shards(tmp_path: Path, suffix: str) -> None:
    files = shard(tmp_path, suffix)
    assert len(files) == 2
    assert_equal(weights.read_tensors(files), tensors())
    assert weights.shapes(files).keys() == tensors().keys()


@pytest.mark.parametrize("suffix", INDEX)
@pytest.mark.parametrize("read", [weights.read_tensors, weights.shapes])
def test_a_tensor_in_two_shards(tmp_path: Path, suffix: str, read: Any) -> None:
    files = shard(tmp_path, suffix)
    write(files[0], tensors())
    with pytest.raises(
        CheckpointError, match=r"-00002-of-\S+ holds segformer\.encoder\.layer_norm\.1\.bias, which model-00001-of-"
    ) as caught:
        read(files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", INDEX)
@pytest.mark.parametrize("read", [weights.read_tensors, weights.shapes])
@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"extra.weight": "model-00002-of-00002"}, r"has extra\.weight in model-00002-of-00002\S+, and none of them"),
        ({NAME: None}, rf"has {NAME} in no file, and model-00001-of-\S+ holds it"),
        ({NAME: "model-00002-of-00002"}, rf"has {NAME} in model-00002-of-\S+, and model-00001-of-\S+ holds it"),
    ],
)
def test_an_index_that_disagrees(tmp_path: Path, suffix: str, read: Any, said: Any, complaint: str) -> None:
    files = shard(tmp_path, suffix, **{name: file and file + suffix for name, file in said.items()})
    with pytest.raises(CheckpointError, match=complaint) as caught:
        read(files)
    assert str(tmp_path / INDEX[suffix]) in str(caught.value)


def test_types_become_fp32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    base = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    kinds = {
        "half": base.half(),
        "bf16": base.bfloat16(),
        "double": base.double() * 1e300,
        "float8": base.to(torch.float8_e4m3fn),
        "single": base,
        "count": torch.tensor(7),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "truth": base > 0,
        "empty": torch.empty(0, 4),
    }
    kinds = {f"segformer.{name}": value for name, value in kinds.items()}
    save_file(kinds, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(saved(kinds))
    expected = {k: (v.float() if v.is_floating_point() else v).numpy() for k, v in kinds.items()}
    for name in ("model.safetensors", "pytorch_model.bin"):
        assert_equal(weights.read_tensors([tmp_path / name]), expected)


def test_a_bare_encoder_gets_its_prefix(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"encoder.layer_norm.0.bias": np.zeros(3, np.float32)})
    write(tmp_path / "pytorch_model.bin", {"encoder.layer_norm.0.bias": np.zeros(3, np.float32)})
    for path in ("model.safetensors", "pytorch_model.bin"):
        assert list(weights.read_tensors([tmp_path / path])) == [NAME]


def test_values_at_odd_places(tmp_path: Path) -> None:
    """Writers need not pad the header; transformers' own does."""
    values = np.array([1.5, -2], np.float32)
    header = json.dumps({"segformer.x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (1 - len(header) % 2)
    assert len(header) % 2
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    found = weights.read_tensors([tmp_path / "x.safetensors"])["segformer.x"]
    assert found.flags.aligned
    assert found.tolist() == values.tolist()


def test_bfloat16_by_hand(tmp_path: Path) -> None:
    values = np.array([1.5, -2, np.inf], ml_dtypes.bfloat16)
    header = json.dumps({"segformer.x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    assert weights.read_tensors([tmp_path / "x.safetensors"])["segformer.x"].tolist() == [1.5, -2, np.inf]


def test_damaged_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, tensors())
    whole = path.read_bytes()
    cuts = [whole[: len(whole) * i // 20] for i in range(20)]
    huge = struct.pack("<Q", 2**60) + whole[8:]
    odd = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for content in (*cuts, whole[:-1], whole + b"\0", huge, struct.pack("<Q", len(odd)) + odd, b"\0" * 8, b"{}" * 99):
        path.write_bytes(content)
        for read in (weights.read_tensors, weights.shapes):
            with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or damaged \(") as caught:
                read([path])
            assert str(caught.value).endswith("): copy the checkpoint again")
            assert "\n" not in str(caught.value)


def test_a_type_that_numpy_has_not(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(CheckpointError, match=r"has x as F8_E8M0, which cannot be read: save it as F32"):
        weights.read_tensors([tmp_path / "x.safetensors"])
