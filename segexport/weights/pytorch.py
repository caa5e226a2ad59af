"""Weights in transformers' models. torch is imported when it is needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segexport.errors import CheckpointError, EngineUnavailable
from segexport.spec import Architecture

if TYPE_CHECKING:
    import torch

INSTALL = 'pip install "segexport[train]"'
"""What brings PyTorch and transformers."""


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


def from_tensors(
    architecture: Architecture,
    config: dict[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
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

    # Copies: parameters may become these very tensors, and training one must not change another that shared its memory.
    state = {key: torch.from_numpy(np.array(tensor, order="C")) for key, tensor in tensors.items()}
    # from_pretrained renames what is on disk to what the installed transformers has in memory.
    with torch.random.fork_rng(devices=[]), quiet_transformers(), _loading(name):
        model, info = model_class.from_pretrained(None, config=settings, state_dict=state, output_loading_info=True)
    return model.eval(), info


def complete_model(
    architecture: Architecture,
    config: dict[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
    name: str,
    attention: str | None = None,
) -> torch.nn.Module:
    """transformers' model, eval mode, fp32, whose every weight is in `tensors`, under its name on disk.

    Raises:
        CheckpointError: a weight is missing or has another shape than `config` says.
        EngineUnavailable: transformers or torch is not installed.
    """
    model, info = from_tensors(architecture, config, tensors, name, attention)
    return _complete(model, info, name)


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """Whatever transformers raises while loading becomes one line that names the checkpoint."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "StrictDataclassFieldValidationError":  # of transformers 5, for what 4 took
            from transformers import __version__

            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{name}: transformers {__version__} does not take its config.json ({reason[:200]}): install a release "
                "that does, to compare with PyTorch"
            ) from error
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


def _settings(config: dict[str, Any], attention: str | None) -> Any:
    from transformers import SegformerConfig

    settings = SegformerConfig(**{k: v for k, v in config.items() if k not in ("model_type", "transformers_version")})
    if attention:
        settings._attn_implementation = attention
    return settings


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
        import torch  # noqa: F401  (without it transformers gives classes that cannot be used)
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
