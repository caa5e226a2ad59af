"""A calibration table: what is written is read again, by people too, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segexport.errors import PrecisionError
from segexport.graph.graph import Graph
from segexport.precision.ranges import METHODS, PEAKS_ONLY, ImageSet, Range, Ranges, read_ranges
from segexport.spec import Source
from tests.support.handmade import modules
from tests.support.ranges import around

WEIGHTS = "ab" * 32
THRESHOLDS = dict(zip(METHODS, (2.5, 2.25, 1.75, 1.5), strict=True))
RATIOS = dict(zip(METHODS, (31.25, 33.5, 12.75, 35.0), strict=True))
FOUND = Range(-2.5, 1.125, THRESHOLDS, RATIOS, "mse")
TABLE = Ranges(
    weights_sha256=WEIGHTS,
    size=(32, 48),
    image_size=(64, 96),
    images=ImageSet("Bilder/münchen", 64, 700, 3, "cd" * 32),
    layers={"stages.0.proj": FOUND, "stages.0.q": around(0, 0, 0)},
    peaks={"stages.0.proj": 1234.5, "stages.0/Add": 0.5},
    network_sqnr_db={"mixed": 30.5, "min-max": 28.25},
    chosen="mixed",
)


def graph_of(**changes: object) -> Graph:
    """A graph that the table is of."""
    graph = modules("(float[1] x) => (float[1] y)", "y = Relu (x)", {})
    graph.source = Source("test", None, WEIGHTS)
    graph.contract = dataclasses.replace(graph.contract, size=(32, 48), source_size=(64, 96), **changes)
    return graph


def edited(path: Path, change: Callable[[dict], object]) -> Path:
    TABLE.save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "table.json")
    assert read_ranges(tmp_path / "table.json") == TABLE
    assert read_ranges(tmp_path / "table.json").as_text() == TABLE.as_text()


def test_a_person_can_read_it() -> None:
    lines = TABLE.as_text().splitlines()
    for name in TABLE.layers:
        (line,) = (line for line in lines if f'"{name}": {{' in line)
        assert json.loads("{" + line.strip().rstrip(",") + "}")[name]["method"] == TABLE.layers[name].method
    assert '    "stages.0.proj": 1234.5,' in lines
    assert "münchen" in TABLE.as_text()
    assert json.loads(TABLE.as_text())["schema"] == 1


def test_numbers_keep_seven_digits(tmp_path: Path) -> None:
    fine = dataclasses.replace(TABLE, peaks={"one": 1 / 3, "two": 65504.0, "tiny": 1.17549435e-38})
    fine.save(tmp_path / "table.json")
    assert read_ranges(tmp_path / "table.json").peaks == pytest.approx(fine.peaks, rel=1e-6)


def test_peaks_alone(tmp_path: Path) -> None:
    """A table made for FP16: this schema, read back, and refused for INT8 by name."""
    alone = dataclasses.replace(TABLE, layers={}, network_sqnr_db={}, chosen=PEAKS_ONLY)
    alone.save(tmp_path / "peaks.json")
    assert read_ranges(tmp_path / "peaks.json") == alone
    assert json.loads(alone.as_text())["schema"] == 1
    assert json.loads(alone.as_text())["layers"] == {}
    alone.require_for(graph_of())
    complaint = r"^peaks\.json holds the peaks that fp16 needs, and no ranges of layers for int8: make a whole"
    with pytest.raises(PrecisionError, match=complaint):
        alone.require_layers("peaks.json")
    TABLE.require_layers()


def test_a_table_of_this_network_is_taken() -> None:
    TABLE.require_for(graph_of())


def test_other_weights_are_refused() -> None:
    graph = graph_of()
    graph.source = Source("test", None, "ef" * 32)
    complaint = "was made from other weights (abababababab) than the checkpoint's (efefefefefef): calibrate again"
    with pytest.raises(PrecisionError) as caught:
        TABLE.require_for(graph, "table.json")
    assert str(caught.value).startswith(f"table.json {complaint}")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (dataclasses.replace(TABLE, size=(64, 64)), "of a network of 64x64 on images of 64x96, the graph of 32x48 on"),
        (dataclasses.replace(TABLE, image_size=(32, 48)), "on images of 32x48, the graph of 32x48 on 64x96: calibrate"),
    ],
)
def test_another_size_is_refused(table: Ranges, complaint: str) -> None:
    with pytest.raises(PrecisionError, match=complaint):
        table.require_for(graph_of())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("peaks"),
        lambda c: c.pop("schema"),
        lambda c: c.update(surprise=1),
        lambda c: c.update(layers=[]),
        lambda c: c.update(size=[32]),
        lambda c: c["layers"]["stages.0.q"].pop("low"),
        lambda c: c["layers"]["stages.0.q"].update(method="guess"),
        lambda c: c["layers"]["stages.0.q"]["thresholds"].update(mse=float("nan")),
        lambda c: c["layers"]["stages.0.q"]["thresholds"].pop("min-max"),
        lambda c: c["layers"]["stages.0.q"].update(high=float("inf")),
        lambda c: c["layers"]["stages.0.q"].update(low="much"),
        lambda c: c["peaks"].update(one="much"),
    ],
)
def test_what_is_no_table(tmp_path: Path, change: Callable[[dict], object]) -> None:
    path = edited(tmp_path / "table.json", change)
    with pytest.raises(PrecisionError, match=r"table\.json is no calibration table .*: make one with segexport calib"):
        read_ranges(path)


@pytest.mark.parametrize("text", ["", "[]", "3", "no JSON", "{", "\x00\xff"])
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(PrecisionError, match="is no calibration table"):
        read_ranges(tmp_path / "table.json")


def test_a_newer_schema(tmp_path: Path) -> None:
    with pytest.raises(PrecisionError, match=r"table\.json has schema 2, this segexport reads 1: calibrate again"):
        read_ranges(edited(tmp_path / "table.json", lambda c: c.update(schema=2)))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PrecisionError, match=r"gone\.json cannot be read \(No such file .*: pass a table"):
        read_ranges(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("found", "magnitude", "bounds"),
    [
        (FOUND, 1.5, (-1.5, 1.125)),
        (around(0, 3), 3, (0, 3)),
        (around(1, 3), 3, (0, 3)),
        (around(-3, -1), 3, (-3, 0)),
        (around(-8, 9, 2), 2, (-2, 2)),
        (around(0, 0, 0), 1, (0, 1)),
    ],
)
def test_what_int8_keeps_apart(found: Range, magnitude: float, bounds: tuple[float, float]) -> None:
    assert found.magnitude == magnitude
    assert found.bounds == bounds
