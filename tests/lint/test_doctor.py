"""`segexport doctor`: what it prints and ends with, on good, bad and broken files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from segexport.bundle import Bundle
from segexport.doctor import examine
from segexport.errors import ContractError, DataError
from tests.lint.zoo import Animal
from tests.lint.zoo.animal import f32
from tests.support.cli import RunCli

GOOD = Animal("good", "(float16[8] x) => (float16[8] y)", "y = Relu(x)")
BAD = Animal(
    "bad", "(float16[8] x) => (float16[8] y)", "a = Add(x, c) b = Add(a, c) d = Mul(b, c) y = Add(d, c)", {"c": f32(8)}
)


def test_a_good_graph(tmp_path: Path, run_cli: RunCli) -> None:
    path = GOOD.save(tmp_path)
    done = run_cli("doctor", path, "--target", "rtx")
    assert (done.code, done.out) == (0, f"{path}: rtx no errors, no warnings\n")


def test_nodes_that_share_a_reason_share_a_line(tmp_path: Path, run_cli: RunCli) -> None:
    path = BAD.save(tmp_path)
    done = run_cli("doctor", path, "--target", "rtx,jetpack-6.1")
    first, second, summary = done.out.splitlines()
    assert first.startswith(
        "error   mixed-types: Add_0 (Add) and 2 more: reads float and float16; TensorRT is strongly typed"
    )
    assert second.startswith("error   mixed-types: Mul_2 (Mul): reads")
    assert "; fix: Cast to one type" in first
    assert summary == f"{path}: rtx 4 errors, no warnings; jetpack-6.1 4 errors, no warnings"
    assert done.code == 1


def test_a_line_names_its_targets_where_they_differ(tmp_path: Path, run_cli: RunCli) -> None:
    path = Animal("newer", "(float[8] x) => (float[8] y)", "y = Relu(x)", opset=22).save(tmp_path)
    done = run_cli("doctor", path)
    assert done.out.startswith("error   opset-too-new [jetpack-6.1]: Relu_0 (Relu): is of opset 22, as all others")
    assert done.out.splitlines()[-1].endswith(
        "jetpack-6.1 1 error, no warnings; jetpack-7.2 no errors, no warnings; "
        "tensorrt-11 no errors, no warnings; rtx no errors, no warnings"
    )
    assert done.code == 1


def test_warnings_are_no_failure(tmp_path: Path, run_cli: RunCli) -> None:
    path = Animal("open", "(float[n,8] x) => (float[n,8] y)", "y = Relu(x)").save(tmp_path)
    done = run_cli("doctor", path, "--target", "rtx")
    assert done.out.startswith("warning input-dynamic: x (input): leaves n open; ")
    assert done.code == 0


def test_json(tmp_path: Path, run_cli: RunCli) -> None:
    path = BAD.save(tmp_path)
    assert run_cli("doctor", path, "--target", "rtx", "--json", tmp_path / "found.json").code == 1
    content = json.loads((tmp_path / "found.json").read_text())
    assert (content["schema"], content["file"], content["passed"]) == (1, str(path), False)
    (target,) = content["targets"]
    assert (target["name"], target["errors"], target["warnings"]) == ("rtx", 4, 0)
    assert [one["node"] for one in content["findings"]] == ["Add_0", "Add_1", "Mul_2", "Add_3"]
    assert set(content["findings"][0]) == {
        *("rule", "severity", "node", "operator", "detail", "why", "fix", "source", "targets", "silent")
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not ONNX"),
        (b"garbage", "is not ONNX"),
        (b"\x08\x0a", "is not ONNX .it names no operator set"),
    ],
)
def test_files_that_are_no_onnx(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(DataError, match=message):
        examine(tmp_path / "bad.onnx")


def test_half_a_file(tmp_path: Path) -> None:
    path = Animal("half", "(float[8] x) => (float[8] y)", "y = Add(x, c)", {"c": f32(8)}).save(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"half\.onnx"):
        examine(path)


def test_a_graph_that_makes_nothing(tmp_path: Path, run_cli: RunCli) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [info("x", 1, [8])], [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "none.onnx")
    done = run_cli("doctor", tmp_path / "none.onnx")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "has a graph without outputs" in done.err


def test_weights_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "apart.onnx"
    model = Animal(
        "apart", "(float[1024] x) => (float[1024] y)", "y = Add(x, c)", {"c": np.ones(1024, np.float32)}
    ).parsed()
    onnx.save(model, path, save_as_external_data=True, location="apart.bin", size_threshold=0)
    assert examine(path, targets=["rtx"]).passed
    (tmp_path / "apart.bin").unlink()
    with pytest.raises(DataError, match=r"keeps weights in .*apart.bin, which is missing: put that file beside it"):
        examine(path)


def test_what_cannot_be_asked(tmp_path: Path, run_cli: RunCli) -> None:
    path = GOOD.save(tmp_path)
    for arguments, message in (
        ((tmp_path / "nowhere.onnx",), "does not exist"),
        ((path, "--target", "tensorrt-9"), "'tensorrt-9' is no target to check for: pass --target jetpack-6.1|"),
        ((path, "--as", "plan"), "'plan' is no kind of thing to examine: pass --as onnx, bundle, checkpoint, data"),
        ((tmp_path,), "bundle"),
    ):
        done = run_cli("doctor", *arguments)
        assert done.code == 2, arguments
        assert message in done.err
        assert len(done.err.splitlines()) == 1
    with pytest.raises(ContractError):
        examine(path, kind="plan")


@pytest.mark.bundle
def test_a_bundle(bundle: Bundle, run_cli: RunCli) -> None:
    """Its portable graph, on every target; ONNX Runtime's own graph has that engine's fusions and is none of it."""
    done = run_cli("doctor", bundle.folder)
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1].startswith(f"{bundle.model}: jetpack-6.1 no errors")
    assert run_cli("doctor", bundle.folder, "--as", "bundle").code == 0
