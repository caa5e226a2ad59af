"""Where ranges may come from besides images: the folders that hold a table."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import segexport
from segexport.bundle import CALIBRATION, PLACEMENT, Bundle
from segexport.calibration.sources import ranges_for
from segexport.errors import DataError, PrecisionError
from segexport.graph.graph import open_graph
from segexport.precision.ranges import read_ranges
from segexport.report.summary import calibration_hint

pytestmark = pytest.mark.bundle


def test_a_bundle_lends_its_table_to_the_next_engine(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    graph = open_graph(bundle.model)
    steps: list[str] = []
    fp16 = segexport.rebuild(
        bundle, tmp_path / "fp16", engine="onnxruntime", precision="fp16", calibration=data, progress=steps.append
    )
    assert any(step.startswith("calibrating: ") for step in steps)
    hint = calibration_hint(fp16, data)
    assert hint is not None
    assert f"--calibration {fp16.folder} builds for another engine" in hint
    steps.clear()
    again = segexport.rebuild(
        bundle,
        tmp_path / "again",
        engine="onnxruntime",
        precision="fp16",
        calibration=fp16.folder,
        progress=steps.append,
    )
    assert not any(step.startswith("calibrating: ") for step in steps)
    assert calibration_hint(again, fp16.folder) is None
    assert (again.folder / CALIBRATION).read_bytes() == (fp16.folder / CALIBRATION).read_bytes()
    with pytest.raises(PrecisionError, match=r"fp16/calibration\.json holds the peaks that fp16 needs, and no ranges"):
        ranges_for(graph, "int8", fp16.folder)
    with pytest.raises(
        DataError, match=r"is a bundle without calibration\.json.*pass --calibration with a folder of im"
    ):
        ranges_for(graph, "int8", bundle.folder)
    search = tmp_path / "found"
    search.mkdir()
    shutil.copy(fp16.folder / CALIBRATION, search)
    (search / PLACEMENT).write_text("{}")
    assert ranges_for(graph, "fp16", search) == read_ranges(fp16.folder / CALIBRATION)
