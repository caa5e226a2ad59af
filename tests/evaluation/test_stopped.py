"""Ctrl-C in an evaluation: what was scored is shown, nothing of it is written as if it were whole, and it goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from segexport import scenes
from segexport.bundle import Bundle
from tests.support.checkpoints import SIZE
from tests.support.cli import RunCli
from tests.support.interrupting import segexport_interrupted

pytestmark = pytest.mark.bundle


def test_ctrl_c_shows_what_was_scored_and_the_same_command_goes_on(
    run_cli: RunCli, bundle: Bundle, tmp_path: Path
) -> None:
    images = 200
    data = scenes.write_dataset(tmp_path / "scenes", 20, seed=scenes.VALIDATION_SEED, size=SIZE)
    for kind in ("images", "masks"):
        for number in range(20, images):
            (data / kind / f"{number:04d}.png").hardlink_to(data / kind / f"{number % 20:04d}.png")
    command = ("evaluate", bundle.folder, "--data", data, "--out", tmp_path / "records", "--json", tmp_path / "e.json")
    records = tmp_path / "records" / "records-1-of-1.jsonl"

    def some_are_done() -> bool:
        return records.exists() and records.read_bytes().count(b"\n") > 2

    stopped = segexport_interrupted(command, "images 0 of 200", tmp_path, some_are_done)
    assert stopped.code == 130, stopped
    assert "Traceback" not in stopped.err
    found = re.search(r"stopped    after (\d+) of 200 images", stopped.out)
    assert found is not None, stopped.out
    done = int(found[1])
    assert 2 < done < images
    assert f"partial, after {done} of 200 images of {data}" in stopped.out
    assert "mIoU %" in stopped.out
    assert "the same command goes on from there" in stopped.out
    assert not (tmp_path / "e.json").exists()

    ended = run_cli(*command)
    assert ended.code == 0, ended.err
    assert f"resumed    {done} images done already" in ended.out
    assert "stopped" not in ended.out
    assert json.loads((tmp_path / "e.json").read_text())["images"] == images
