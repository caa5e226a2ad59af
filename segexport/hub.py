"""Fetching a checkpoint's files from the Hugging Face Hub, with failures said in one line."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from segexport.errors import CheckpointError

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_FACTS_AND_SAFETENSORS = ("config.json", "*processor_config.json", "model.safetensors*", "model-*.safetensors")
_PICKLES = ("pytorch_model.bin*", "pytorch_model-*.bin")


def fetch(repository: str, revision: str | None, said: str = "") -> tuple[Path, str | None]:
    """Local folder holding the checkpoint's configuration and weights, and the commit it was resolved to.

    Files already in the hub's cache are used when the hub cannot be reached; offline mode (`HF_HUB_OFFLINE=1`)
    is honoured. Pickled weights are fetched only where there are no safetensors.

    Args:
        repository: `owner/name`.
        revision: branch, tag or commit.
        said: how a failure's message begins, where the name may have been meant for something else.

    Raises:
        CheckpointError: no such id, no access, or no network and nothing cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    said = said or f"checkpoint '{repository}' could not be had"
    remedy = (
        "download it elsewhere and pass its local folder: --model path/to/folder; for latency alone, segexport build "
        "with an alias and --random-init needs no network"
    )
    with quiet():
        try:
            offline = not reachable()
            for patterns in (_FACTS_AND_SAFETENSORS, _PICKLES):
                files = snapshot_download(
                    repository, revision=revision, allow_patterns=list(patterns), local_files_only=offline
                )
                folder = Path(files)
                if any((folder / name).exists() for name in WEIGHT_FILES):
                    break
        except HFValidationError as error:
            raise CheckpointError(f"{said}: it is no valid hub id (owner/name)") from error
        except Exception as error:
            reason = reason_of(error)
            raise CheckpointError(f"{said}: {reason}; {remedy}") from error
    if not (folder / "config.json").exists():
        raise CheckpointError(f"checkpoint '{repository}' has no config.json on the hub; {remedy}")
    return folder, folder.name


def reason_of(error: Exception) -> str:
    """Why the hub client failed, in words."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "the hub wants you to accept its terms and log in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such model (or it is private: hf auth login)"
    if isinstance(error, OSError) and error.errno:
        return f"its files could not be stored in the hub's cache ({error.strerror})"
    return "the hub was not reached and the local cache does not hold it"


def reachable() -> bool:
    """Whether the hub's host resolves. Saves the hub client's half minute of retries on a machine without network."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """The hub client without log lines and progress bars; what matters in them becomes an error of ours."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()
