"""`segexport evaluate` on the command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from segexport.bundle import Bundle
from segexport.data import read_json
from tests.support.cli import RunCli


@pytest.mark.bundle
def test_what_it_prints_and_writes(
    bundle: Bundle, data: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ("--json", tmp_path / "e.json", "--markdown", tmp_path / "e.md")
    arguments = (
        "evaluate",
        bundle.folder,
        "--data",
        data,
        "--threads",
        "1",
        "--by",
        "brightness",
        "--by",
        "row",
        *files,
    )
    found = run_cli(*arguments)
    assert found.code == 0, found.err
    folder = f"evaluation-{bundle.folder.name}"
    assert (tmp_path / folder / "records-1-of-1.jsonl").read_bytes().count(b"\n") == 3
    content = json.loads((tmp_path / "e.json").read_text())
    jsonschema.validate(content, read_json("evaluation.schema.json"))
    miou = content["subjects"][0]["figures"]["miou"]["value"]
    for text in (found.out, (tmp_path / "e.md").read_text()):
        assert f"{miou * 100:.2f}" in text
        assert "seen as" in text
        assert folder in text
        assert "too few to rely on" in text
    assert "resumed" not in found.out
    again = run_cli(*arguments)
    assert "resumed    3 images done already" in again.out
    assert json.loads((tmp_path / "e.json").read_text()) == content
    other = run_cli("evaluate", bundle.folder, "--data", data, "--limit", "2")
    assert other.code == 2
    assert f"{folder} holds an evaluation with other settings (data images: 3 there, 2 now" in other.err
    assert run_cli("evaluate", bundle.folder, "--data", data, "--limit", "2", "--overwrite").code == 0


@pytest.mark.bundle
def test_a_shard_alone_has_no_figures(bundle: Bundle, data: Path, tmp_path: Path, run_cli: RunCli) -> None:
    common = ("evaluate", bundle.folder, "--data", data, "--out", tmp_path / "e", "--threads", "1", "--no-boundary")
    first = run_cli(*common, "--shard", "1/2")
    assert first.code == 0, first.err
    assert "missing    shard 2/2: 1 image; run it with --shard 2/2" in first.out
    assert "mIoU" not in first.out
    second = run_cli(*common, "--shard", "2/2")
    assert "missing" not in second.out
    assert "mIoU" in second.out
    assert "boundary" not in second.out


def test_bad_options_are_one_line(tmp_path: Path, run_cli: RunCli) -> None:
    for options, said in (
        (("--scales", "1,x"), "scales '1,x' cannot be read"),
        (("--window", "big"), "big"),
        (("--corruptions", "rain"), "corruption 'rain' is unknown"),
        (("--shard", "3/2"), "--shard i/n"),
    ):
        found = run_cli("evaluate", tmp_path / "nowhere", "--data", tmp_path, *options)
        assert found.code == 2
        assert said in found.err.splitlines()[-1]
        assert found.err.strip().count("\n") == 0
