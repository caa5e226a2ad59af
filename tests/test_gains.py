"""The command that measures rewrites: its arithmetic, its table, and a run of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gains, rewrites
from benchmarks.gains import BEGIN, END, FULL, PLAIN, WITH, WITHOUT

FULL_SECONDS = [0.100, 0.101, 0.099]


@pytest.mark.parametrize(
    ("kind", "seconds", "gain"),
    [
        (WITHOUT, 0.125, 0.2),  # it takes a fifth from 125
        (WITHOUT, 0.08, -0.25),  # 80 become 100
        (WITH, 0.08, 0.2),  # it would take a fifth from 100
        (WITH, 0.125, -0.25),
        (PLAIN, 0.4, 0.75),
        (FULL, 0.1, 0),
    ],
)
def test_a_gain_is_a_share_of_the_time_without(kind: str, seconds: float, gain: float) -> None:
    found = gains.compared(kind, [seconds] * 3, FULL_SECONDS)
    assert found["gain"] == pytest.approx(gain)
    assert found["ratio"] == pytest.approx(seconds / 0.1)
    assert found["p50"] == pytest.approx(1e3 * seconds)


def test_the_table_goes_between_the_markers() -> None:
    once = gains.between_markers(f"before\n{BEGIN}\nold\n{END}\nbehind", "new")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nbehind"
    assert gains.between_markers(once, "new") == once
    with pytest.raises(ValueError, match="there is no"):
        gains.between_markers(f"{END} {BEGIN}", "new")


def test_an_unknown_engine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        rewrites.main(["--engines", "tensorrt"])
    assert "no passes for tensorrt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.bundle
def test_a_run(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a small checkpoint with two calls: every pass has its row, and no row changes what is seen."""
    arguments = [
        "--checkpoint",
        str(checkpoint),
        "--size",
        "64x96",
        "--calls",
        "2",
        "--engines",
        "onnxruntime",
        "--print",
    ]
    assert rewrites.main(arguments) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = [row[0].removeprefix("| ") for row in rows]
    assert names.count("the whole pipeline") == names.count("the plain graph") == 1
    assert "without `fold-decode-head`" in names
    assert f"without ({rewrites.FUSION})" in names
    differences = [float(row[5]) for row in rows if row[5] not in ("", "logits differ by")]
    assert len(differences) == len(rows) - 2  # of the head, and of the plain graph itself
    assert max(differences) < 1e-4
