"""The hub: its cache is used without it, and what cannot be had is said in one line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from segexport import checkpoint as checkpoints
from segexport.errors import CheckpointError


def test_the_hubs_cache_serves_without_the_hub(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--segformer"
    shutil.copytree(checkpoint, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    loaded = checkpoints.load("someone/segformer")
    assert (loaded.source.id, loaded.source.revision) == ("someone/segformer", commit)
    assert loaded.source.weights_sha256 == checkpoints.load(checkpoint).source.weights_sha256
    for model, revision in (("someone/other", None), ("someone/segformer", "v2"), ("b0", None)):
        with pytest.raises(CheckpointError, match="hub was not reached and the local cache does not hold it"):
            checkpoints.load(model, revision=revision)


def test_a_hub_id_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load("segexport-no-such-owner/no-such-model")
    message = str(caught.value)
    assert time.monotonic() - start < 10
    assert "'segexport-no-such-owner/no-such-model'" in message
    assert "the hub was not reached" in message or "the hub has no such model" in message
    assert "pass its local folder: --model path/to/folder" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("./nowhere", "is not a folder"),
        ("/no/such/place", "is not a folder"),
        ("not a name", "neither an existing folder, nor an alias"),
    ],
)
def test_a_name_that_can_be_nothing(name: str, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=complaint) as caught:
        checkpoints.load(name)
    assert name in str(caught.value)
