"""Which layers compute in INT8: written by a search or by hand, and refused where it is not of this network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.lowering import Recipe, complete
from segexport.precision.placement import Placement, default_placement, placed, read_placement
from tests.support.handmade import modules
from tests.support.ranges import table


def four_layers() -> Graph:
    """A convolution, a depthwise one, a linear layer and a convolution; a product of two activations is no layer."""
    body = """
        a = Conv (x, w) b = Conv <group=3> (a, d) c = MatMul (b, m) s = MatMul (c, c) y = Conv (s, w)"""
    constants = {"w": np.ones((3, 3, 1, 1)), "d": np.ones((3, 1, 1, 1)), "m": np.ones((4, 4))}
    return modules("(float[1,3,4,4] x) => (float[1,3,4,4] y)", body, constants)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    placement = Placement(("a", "c"), "int8", "openvino", "ab" * 32, {"loss": 0.125, "tried": ["a", "b"]})
    placement.save(tmp_path / "placement.json")
    assert read_placement(tmp_path / "placement.json") == placement


def test_by_hand_a_list_of_layers_will_do(tmp_path: Path) -> None:
    (tmp_path / "placement.json").write_text('{"int8": ["c", "b"]}')
    placement = read_placement(tmp_path / "placement.json")
    assert placement == Placement(("c", "b"))
    graph = four_layers()
    placement.require_for(graph.model.graph, "any weights")
    assert [layer.name for layer in placed(graph.model.graph, placement)] == ["b", "c"], "in the graph's order"
    assert [layer.name for layer in placed(graph.model.graph, placement, {"depthwise"})] == ["c"]


def test_by_default_all_but_the_ends() -> None:
    assert default_placement(four_layers().model.graph) == Placement(("b", "c"))


@pytest.mark.parametrize(
    ("placement", "complaint"),
    [
        (Placement(("c", "s")), "names s, which is no layer of this network, unlike a: the placement.json"),
        (Placement(("c",), weights_sha256="ab" * 32), "was found for other weights than the checkpoint's"),
        (Placement((), "fp16"), "no layer in INT8, because none paid: build with --precision fp16"),
        (Placement((), "fp32"), "no layer in INT8, because none paid: build with --precision fp32"),
    ],
)
def test_what_is_not_of_this_network(placement: Placement, complaint: str) -> None:
    with pytest.raises(PrecisionError, match=complaint):
        complete(four_layers(), Recipe("int8", table({}), placement))


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"int8": "c"},
        {"int8": [1]},
        {"int8": None},
        {"int8": ["c"], "surprise": 1},
    ],
)
def test_what_is_no_placement(tmp_path: Path, content: object) -> None:
    (tmp_path / "placement.json").write_text(json.dumps(content))
    with pytest.raises(PrecisionError, match=r"placement\.json is no placement .*: make one with segexport tune"):
        read_placement(tmp_path / "placement.json")


def test_what_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "placement.json").write_bytes(b"\xff{")
    with pytest.raises(PrecisionError, match="is no placement"):
        read_placement(tmp_path / "placement.json")


def test_a_newer_schema(tmp_path: Path) -> None:
    (tmp_path / "placement.json").write_text('{"schema": 2, "int8": []}')
    with pytest.raises(PrecisionError, match="has schema 2, this segexport reads 1: run segexport tune again"):
        read_placement(tmp_path / "placement.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PrecisionError, match=r"gone\.json cannot be read \(No such file .*: pass a placement"):
        read_placement(tmp_path / "gone.json")
