"""Files of `torch.save`, read without torch: against torch's own reading bit by bit, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segexport.errors import CheckpointError
from segexport.weights import load_pickle
from tests.support.torch_files import assert_same_bits, saved

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])


def read(tmp_path: Path, content: bytes, **options: Any) -> Any:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    return load_pickle(path, **options)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'x.pth'} ")
    assert "\n" not in text
    assert len(text) < len(str(tmp_path)) + 400
    return text


def many_kinds(zipped: bool) -> dict[str, Any]:
    """Whatever state dicts and their wrappings hold, of each kind one."""
    import torch

    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    parameter = torch.nn.Parameter(torch.randn(3, generator=generator))
    marked = torch.nn.Parameter(torch.randn(2, generator=generator))
    marked.note = "an attribute"
    weights = OrderedDict(
        [
            ("half", base.half()),
            ("bf16", base.bfloat16()),
            ("double", base.double()),
            ("special", torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])),
            ("num_batches_tracked", torch.tensor(2**40 + 1)),
            ("whole", base),
            ("row", base[1]),
            ("columns", base[:, 1:5:2]),
            ("transposed", base.t()),
            ("channels last", torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)),
            ("parameter", parameter),
            ("with attributes", marked),
            ("empty", torch.empty(0, 3)),
            ("bool", base > 0),
            *((str(kind), torch.arange(5).to(kind)) for kind in (torch.uint8, torch.int8, torch.int16, torch.int32)),
            ("complex", torch.randn(3, dtype=torch.complex64)),
            ("complex double", torch.randn(3, dtype=torch.complex128)),
        ]
    )
    if zipped:  # the older format of the torch at hand fails to be read by itself with these
        weights["uint16"] = torch.arange(5).to(torch.uint16)
        weights["float8"] = base.to(torch.float8_e4m3fn)
        weights["float8_e5m2"] = base.to(torch.float8_e5m2)
    weights._metadata = OrderedDict({"": {"version": 2}})
    return {
        "state_dict": weights,
        "meta": {
            "epoch": 3,
            "CLASSES": ("road", "sky"),
            "PALETTE": [[1, 2, 3], [4, 5, 6]],
            "time": "Mon\nday ü",
            "large": 10**20,
            "negative": -(2**40),
            "real": 0.1,
            "nothing": None,
            "flag": True,
            "bytes": b"\x00\xff",
            "array": bytearray(b"ab"),
            "set": {1, "a"},
            "complex": 1 + 2j,
            ("a", 1): "tuple key",
        },
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 6e-5, "params": [0, 1]}]},
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "type": torch.bfloat16,
        "counter": Counter("aab"),
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    }


@FORMATS
def test_everything_is_what_torch_reads(tmp_path: Path, zipped: bool) -> None:
    import torch

    content = saved(many_kinds(zipped), zipped=zipped)
    found = read(tmp_path, content)
    expected = torch.load(tmp_path / "x.pth", weights_only=True)
    assert_same_bits(found, {**expected, "size": tuple(expected["size"])})
    assert found["state_dict"]["half"].flags.writeable


@FORMATS
@pytest.mark.parametrize("protocol", [3, 4])
def test_other_protocols_of_pickle(tmp_path: Path, zipped: bool, protocol: int) -> None:
    import torch

    content = saved(many_kinds(zipped), zipped=zipped, pickle_protocol=protocol)
    found = read(tmp_path, content)
    expected = torch.load(tmp_path / "x.pth", weights_only=False)
    assert_same_bits(found, {**expected, "size": tuple(expected["size"])})


@FORMATS
def test_a_single_tensor(tmp_path: Path, zipped: bool) -> None:
    import torch

    assert_same_bits(read(tmp_path, saved(torch.arange(3.0), zipped=zipped)), torch.arange(3.0))


@FORMATS
def test_tensors_of_one_storage_share_memory(tmp_path: Path, zipped: bool) -> None:
    import torch

    base = torch.zeros(4, 6)
    found = read(tmp_path, saved({"a": base, "b": base[1:, 2], "c": base.t(), "d": torch.zeros(4)}, zipped=zipped))
    found["a"][2, 2] = 5
    assert found["b"].tolist() == [0, 5, 0]
    assert found["c"][2, 2] == 5
    assert not np.shares_memory(found["a"], found["d"])


@FORMATS
def test_shapes_alone(tmp_path: Path, zipped: bool) -> None:
    content = saved(many_kinds(zipped), zipped=zipped)
    whole, shapes = read(tmp_path, content)["state_dict"], read(tmp_path, content, values=False)["state_dict"]
    assert {k: (v.shape, v.dtype) for k, v in shapes.items()} == {k: (v.shape, v.dtype) for k, v in whole.items()}


def test_torch_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(saved({"half": many_kinds(True)["state_dict"]["bf16"]}))
    code = (
        "import sys, pathlib; from segexport import original; "
        f"print(len(original.read(pathlib.Path({str(tmp_path / 'x.pth')!r})).tensors)); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1", "[]"]


@FORMATS
def test_a_storage_alone_is_no_tensor(tmp_path: Path, zipped: bool) -> None:
    import torch

    from segexport import original

    content = {"state_dict": {"a": torch.zeros(3).untyped_storage(), "b": torch.zeros(3)}}
    (tmp_path / "x.pth").write_bytes(saved(content, zipped=zipped))
    with pytest.raises(CheckpointError, match=r"x\.pth: a is no tensor"):
        original.read(tmp_path / "x.pth")


class Model:
    """Stands for a whole model that was saved."""


class Touch:
    """Would write a file when loaded by anything that calls things."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Attributes:
    """Would be given attributes when loaded by anything that does that."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"items": 1, "__class__": 2}


@FORMATS
def test_what_would_run_code(tmp_path: Path, zipped: bool) -> None:
    import torch

    ran = tmp_path / "ran"
    text = refusal(tmp_path, saved({"state_dict": {"a": torch.zeros(2)}, "hook": Touch(ran)}, zipped=zipped))
    assert f"holds {os.mkdir.__module__}.mkdir beside its weights, which could run code when loaded" in text
    assert "resave its tensors where it was trained: python -c" in text
    assert not ran.exists()


@FORMATS
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (lambda: Model(), f"{__name__}.Model"),
        (lambda: Path("x"), "pathlib.PosixPath"),
        (lambda: np.float64(1), "multiarray.scalar"),
        (lambda: print, "print"),
        (lambda: __import__("torch").nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
    ids=["model", "path", "NumPy scalar", "builtin", "module"],
)
def test_other_objects_are_refused_by_name(tmp_path: Path, zipped: bool, value: Any, name: str) -> None:
    text = refusal(tmp_path, saved({"epoch": value()}, zipped=zipped))
    assert f"{name} beside its weights" in text


@FORMATS
def test_attributes_are_left_out(tmp_path: Path, zipped: bool) -> None:
    assert read(tmp_path, saved({"a": Attributes()}, zipped=zipped)) == {"a": {}}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what is deprecated or experimental
@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta", "conjugate", "complex32"])
def test_tensors_that_numpy_has_not(tmp_path: Path, kind: str) -> None:
    import torch

    tensor = {
        "sparse": lambda: torch.eye(2).to_sparse(),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "meta": lambda: torch.ones(2, device="meta"),
        "conjugate": lambda: torch.ones(2, dtype=torch.complex64).conj(),
        "complex32": lambda: torch.zeros(2, dtype=torch.complex32),
    }[kind]()
    assert f"holds a {'' if kind in ('conjugate', 'complex32') else kind + ' '}tensor" in refusal(
        tmp_path, saved({"a": tensor})
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    import torch

    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    text = refusal(tmp_path, (tmp_path / "script.pt").read_bytes())
    assert text.endswith("x.pth is a TorchScript program: save the model's state_dict() and pass that")
