"""The hub: its cache is used without it, and what cannot be had is said in one line."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from segexport import checkpoint as checkpoints
from segexport import hub
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


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as its client needs to fetch one repository, `someone/segformer`."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    commit = "fedcba9876543210fedcba9876543210fedcba98"

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/api/models/someone/segformer"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            answer = {"id": "someone/segformer", "sha": self.commit, "siblings": siblings}
            tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in self.files.items()]
            self._answer(json.dumps(tree if "/tree/" in self.path else answer).encode())
        elif self.path.startswith("/someone/segformer/resolve/") and self.path.split("/")[-1] in self.files:
            self._answer(self.files[self.path.split("/")[-1]])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_checkpoint_comes_over_the_network(checkpoint: Path, tmp_path: Path, weights: str) -> None:
    """The real client, over real HTTP, from a hub on this machine; in a process of its own, for its environment."""
    Hub.files = {name: (checkpoint / name).read_bytes() for name in ("config.json", "preprocessor_config.json")}
    Hub.files["README.md"] = b"not wanted"
    if weights == "model.safetensors":
        Hub.files["pytorch_model.bin"] = b"not wanted beside safetensors"
        Hub.files[weights] = (checkpoint / weights).read_bytes()
    else:
        import torch
        from safetensors.torch import load_file

        buffer = io.BytesIO()
        torch.save(load_file(checkpoint / "model.safetensors"), buffer)
        Hub.files[weights] = buffer.getvalue()
    Hub.asked = []
    script = """
import sys
from segexport import checkpoint, errors
for name in ("torch", "transformers"):
    sys.modules[name] = None  # neither is needed
loaded = checkpoint.load("someone/segformer")
assert loaded.tensors()
print(loaded.source.revision, loaded.source.weights_sha256, sorted(p.name for p in loaded.folder.iterdir()))
try:
    checkpoint.load("someone/other")
except errors.CheckpointError as error:
    print(error)
"""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the client's progress bars and log lines"
    first, second = done.stdout.splitlines()
    digest = hashlib.sha256(Hub.files[weights]).hexdigest()
    names = sorted(["config.json", "preprocessor_config.json", weights])
    assert first == f"{Hub.commit} {digest} {names}"
    assert "someone/other: no such folder, file or alias. As a hub id: the hub has no such model" in second
    assert not any("README" in path for path in Hub.asked)


def test_a_hub_id_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load("segexport-no-such-owner/no-such-model")
    message = str(caught.value)
    assert time.monotonic() - start < 10
    assert message.startswith("segexport-no-such-owner/no-such-model: no such folder, file or alias. As a hub id: ")
    assert "the hub was not reached" in message or "the hub has no such model" in message
    assert "pass its local folder: --model path/to/folder" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("./nowhere", "."),
        ("/no/such/place", "."),
        ("not a name", "."),
        ("b9", "; did you mean b0?"),
        ("segformer-b3", "; did you mean b3?"),
        ("segformer_b2_cityscapes", "; did you mean b2-cityscapes?"),
        ("runs/best", "; did you mean runs/best-1?"),  # runs/ is a folder here, so this is no hub id
        ("runs/other.pth", "."),
    ],
)
def test_a_name_that_is_nothing(name: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is not asked, and the answer names what was probably meant, and the way without a network."""
    (tmp_path / "runs" / "best-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: no such folder, file or alias{near} Pass a checkpoint's folder, ")
    assert "--random-init" in message
