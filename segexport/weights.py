"""The weights of a checkpoint folder: finding, hashing, and loading them into transformers' models."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexport import original
from segexport.errors import CheckpointError, EngineUnavailable
from segexport.files import sha256_of
from segexport.hub import WEIGHT_FILES
from segexport.spec import Architecture

if TYPE_CHECKING:
    import torch

INSTALL = 'pip install "segexport[train]"'


def find(folder: Path) -> list[Path]:
    """The folder's weight files, safetensors before pickles, every shard of a sharded checkpoint.

    Raises:
        CheckpointError: none, or a shard is missing.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.exists():
            continue
        if not name.endswith(".index.json"):
            return [path]
        try:
            shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error!r}): copy the checkpoint again") from error
        missing = [shard for shard in shards if not (folder / shard).exists()]
        if missing:
            raise CheckpointError(f"{folder} lacks {missing[0]}, which {name} names: copy the checkpoint again")
        return [folder / shard for shard in shards]
    raise CheckpointError(
        f"{folder} has no weights (model.safetensors or pytorch_model.bin): copy the checkpoint again"
    )


def sha256(files: list[Path]) -> str:
    """SHA-256 of one weight file, or over the digests of all shards in name order."""
    digests = [sha256_of(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def shapes(files: list[Path]) -> dict[str, list[int]] | None:
    """Every tensor's shape by name, read from safetensors headers; None for pickles, which only torch can read.

    Raises:
        CheckpointError: a file is truncated or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if any(path.suffix != ".safetensors" for path in files):
        return None
    found: dict[str, list[int]] = {}
    for path in files:
        try:
            with safe_open(path, framework="numpy") as tensors:
                found.update({name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is truncated or damaged ({error}): copy the checkpoint again") from error
    return found


def load_model(architecture: Architecture, folder: Path, name: str, attention: str | None) -> torch.nn.Module:
    """transformers' model with the folder's weights, eval mode, fp32.

    Raises:
        CheckpointError: weights missing, damaged or of other shapes: nothing is ever filled with random values.
        EngineUnavailable: transformers or torch is not installed.
    """
    model_class = _model_class(architecture)
    import torch

    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    with quiet_transformers(), _loading(name):
        model, info = model_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, torch_dtype=torch.float32, **options
        )
    return _complete(model, info, name)


def load_original(
    architecture: Architecture, file: Path, config: dict[str, Any], attention: str | None
) -> torch.nn.Module:
    """transformers' model with the weights of a `.pth` file, computing what they were trained for, eval mode, fp32.

    What transformers' own modules would compute otherwise is restored, see `original.function`: written with
    `save_pretrained` that would be lost.

    Raises:
        CheckpointError: the file cannot be read, or does not hold exactly a SegFormer's weights.
        EngineUnavailable: transformers or torch is not installed.
    """
    converted = original.convert(original.read(file).tensors, file)
    tensors = original.folded(converted.tensors)
    model, info = from_tensors(architecture, config, tensors, str(file), attention)
    return original.restore(_complete(model, info, str(file)), converted.style)


def from_tensors(
    architecture: Architecture,
    config: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    name: str,
    attention: str | None = None,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """transformers' model with tensors under the names they have on disk, and its report of the loading.

    Weights that `tensors` lacks are left as transformers initialises them, at random: they are the report's
    `missing_keys`, under the names of the model in memory. torch's own random state is kept.

    Raises:
        CheckpointError: a tensor has another shape than `config` says.
        EngineUnavailable: transformers or torch is not installed.
    """
    model_class = _model_class(architecture)
    settings = _settings(config, attention)
    import torch

    # from_pretrained renames what is on disk to what the installed transformers has in memory.
    with torch.random.fork_rng(devices=[]), quiet_transformers(), _loading(name):
        model, info = model_class.from_pretrained(None, config=settings, state_dict=tensors, output_loading_info=True)
    return model.eval(), info


def read_tensors(files: list[Path]) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint folder's files, fp32, under the names on disk of transformers 4.57 and 5.x.

    Raises:
        CheckpointError: a file is truncated, or a pickle that would have to run code.
        EngineUnavailable: torch is not installed.
    """
    found: dict[str, torch.Tensor] = {}
    for path in files:
        if path.suffix != ".safetensors":
            found.update(original.read(path).tensors)
            continue
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError as error:
            raise EngineUnavailable(f"PyTorch is needed to read a checkpoint: {INSTALL}") from error
        try:
            found.update(load_file(path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is truncated or damaged ({error}): copy the checkpoint again") from error
    bare = not any(name.startswith("segformer.") for name in found)  # a SegformerModel without head
    names = {name: original.disk_name(f"segformer.{name}" if bare else name) for name in found}
    return {names[name]: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """Whatever transformers raises while loading becomes one line that names the checkpoint."""
    try:
        yield
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{name} could not be loaded ({first_line}): copy or train the checkpoint again"
        ) from error


def _complete(model: torch.nn.Module, info: dict[str, Any], name: str) -> torch.nn.Module:
    """The model in eval mode, if every weight of it came from the checkpoint."""
    counters = {key for key in info["missing_keys"] if key.endswith("num_batches_tracked")}  # no weight, and 0 is right
    missing = sorted({*info["missing_keys"], *(str(m) for m in info.get("mismatched_keys", ()))} - counters)
    if missing:
        raise CheckpointError(
            f"{name} lacks {len(missing)} weights ({missing[0]}, ...): it would have been filled with random values; "
            "pass a complete checkpoint"
        )
    loaded: torch.nn.Module = model.eval()
    return loaded


def random_model(
    architecture: Architecture, config: dict[str, Any], seed: int, attention: str | None
) -> torch.nn.Module:
    """transformers' model with random weights from `seed`, eval mode, fp32; torch's own random state is kept."""
    model_class = _model_class(architecture)
    settings = _settings(config, attention)
    import torch

    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        model: torch.nn.Module = model_class(settings).eval()
    return model


def _settings(config: dict[str, Any], attention: str | None) -> Any:
    from transformers import SegformerConfig

    settings = SegformerConfig(**{k: v for k, v in config.items() if k not in ("model_type", "transformers_version")})
    if attention:
        settings._attn_implementation = attention
    return settings


def model_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over every parameter's and buffer's name, shape and bytes: the identity of weights held in memory."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def require_training() -> None:
    """Refuse to start what needs the `train` extra where it is missing.

    Raises:
        EngineUnavailable: torch, transformers or accelerate is not installed.
    """
    missing = [name for name in ("torch", "transformers", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineUnavailable(f"{missing[0]} is needed to train and is not installed: {INSTALL}")


def image_processor_class() -> Any:
    """transformers' SegFormer processor that needs no torchvision: 5.x calls it ...Pil, 4.57 has no other name."""
    import transformers

    if int(transformers.__version__.partition(".")[0]) >= 5:
        return transformers.SegformerImageProcessorPil
    return transformers.SegformerImageProcessor


def _model_class(architecture: Architecture) -> Any:
    try:
        from transformers import SegformerForImageClassification, SegformerForSemanticSegmentation
    except ImportError as error:
        raise EngineUnavailable(f"PyTorch and transformers are needed to read a checkpoint: {INSTALL}") from error
    if architecture == "semantic-segmentation":
        return SegformerForSemanticSegmentation
    return SegformerForImageClassification


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers without its progress bars and log lines; what matters in them becomes an error of ours."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
