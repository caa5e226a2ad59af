"""Ctrl-C in a search: what was measured is shown, and no placement is chosen of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segexport import scenes
from segexport.bundle import Bundle
from segexport.calibration.sources import ranges_for
from segexport.graph.graph import open_graph
from segexport.report import pareto
from segexport.tuning import SearchStopped, tune
from tests.support.checkpoints import SIZE
from tests.support.interrupting import segexport_interrupted

pytestmark = pytest.mark.bundle


def test_a_search_that_is_stopped_says_where_and_that_nothing_is_chosen(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    images = scenes.write_dataset(tmp_path / "scenes", 4, seed=scenes.VALIDATION_SEED, size=SIZE)
    ranges = ranges_for(open_graph(bundle.model), "int8", data)
    assert ranges is not None

    def stop(step: str) -> None:
        if step.startswith("sensitivity: layer 3 of "):
            raise KeyboardInterrupt

    with pytest.raises(SearchStopped) as stopped:
        tune(bundle, images, ranges=ranges, engine="onnxruntime", progress=stop)
    (finding,) = pareto.parts(stopped.value.found)
    assert isinstance(finding, str)
    assert re.fullmatch(
        r"finding    none, as the search was stopped at sensitivity: layer 3 of \d+: no placement is chosen, and "
        "nothing is written",
        finding,
    )


@pytest.mark.slow
def test_ctrl_c_among_the_candidates_shows_their_figures_and_writes_nothing(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    images = scenes.write_dataset(tmp_path / "scenes", 8, seed=scenes.VALIDATION_SEED, size=SIZE)
    for kind in ("images", "masks"):
        for number in range(8, 400):  # so many that it does not end before it is stopped
            (images / kind / f"{number:04d}.png").hardlink_to(images / kind / f"{number % 8:04d}.png")
    command = ("tune", "--from-bundle", bundle.folder, "--data", images, "--calibration", data, "-o", "out")
    among = r"^candidates: call [1-9]\d+ of \d+, about"
    stopped = segexport_interrupted((*command, "--engine", "onnxruntime"), among, tmp_path)
    assert stopped.code == 130, stopped
    assert "Traceback" not in stopped.err + stopped.out
    assert re.search(r"^cost: call \d+ of \d+", stopped.err, re.MULTILINE)
    rows = [line.split()[0] for line in stopped.out.splitlines() if re.search(r"\d\.\d\d", line)]
    assert "fp32" in rows
    assert "default" in rows
    assert "gains      " in stopped.out
    assert re.search(r"stopped at candidates: call \d+ of \d+: no placement is chosen, and nothing is", stopped.out)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
