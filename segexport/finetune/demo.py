"""A small SegFormer trained on generated scenes in about two minutes on two cores, without any download."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from segexport.canvas import Plane
from segexport.scenes import LABELS, TRAIN_SEED, scene
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD, Size
from segexport.weights import image_processor_class, quiet_transformers, require_training

if TYPE_CHECKING:
    import torch
    from transformers import SegformerForSemanticSegmentation, TrainerCallback

# Rate, batch and initial spread were found by trials of 120 s on two cores. The widths and depths are smaller
# than B0's for speed alone: B0 takes about four times as long for a picture.
_WIDTHS, _DEPTHS, _HEAD, _INIT = (32, 64, 96, 128), (1, 1, 2, 1), 64, 0.1
_BATCH, _RATE, _WARM_UP = 2, 3e-3, 0.05
# Per label; without them two minutes are over before poles, signs and people are worth their few pixels.
_WEIGHTS = (1.0, 2.0, 1.0, 4.0, 5.0, 5.0, 2.0, 1.0, 5.0, 2.0)
# Scenes are drawn once and kept: drawing one takes about as long as training on it at half its size.
_SCENES, _VISITS = 320, 1000
# For this share of the time the scenes are halved, which is about three times as fast. They are not cropped:
# a network trained on crops did well on crops and took the road for something else in whole pictures.
_COARSE = 0.6


def train_on_scenes(
    out: Path,
    *,
    seconds: float = 120.0,
    size: Size = (256, 320),
    seed: int = 0,
    on_progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Train from random weights for `seconds` and save a checkpoint folder that Transformers opens.

    `size` (HxW) is that of the scenes and the one the saved image processor names. `on_progress` is called
    now and then with the share of the time spent, 0 to 1, and a line of text. Returns `out`.

    Raises:
        EngineUnavailable: torch, transformers or accelerate is not installed.
    """
    require_training()
    import torch
    from transformers import Trainer, TrainingArguments, set_seed
    from transformers.trainer_callback import PrinterCallback

    set_seed(seed)
    model = _network()
    budget = _Budget(seconds)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: _rate(budget.spent()))
    with TemporaryDirectory() as scratch, quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=_BATCH,
                max_steps=10**6,  # the budget ends the training, see _time_limit
                max_grad_norm=1.0,
                seed=seed,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            ),
            train_dataset=_Scenes(seed, size),
            data_collator=lambda scenes: _collate(scenes, 2 if budget.spent() < _COARSE else 1),
            optimizers=(optimizer, schedule),
            compute_loss_func=_loss,
            callbacks=[_time_limit(budget, on_progress)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        model.to("cpu").eval().save_pretrained(out)
        _processor(size).save_pretrained(out)
    return out


class _Budget:
    """Wall-clock time, from now on. Nothing is measured with it: it only ends the training and decays its rate."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    def spent(self) -> float:
        """Share of the time that is gone, 0 to 1."""
        return min(1.0, (time.monotonic() - self._start) / self.seconds)


class _Scenes:
    """Training scenes, drawn on the first visit and mirrored half of the time."""

    def __init__(self, seed: int, size: Size) -> None:
        self._rng = np.random.default_rng(seed)
        self._scene = lru_cache(maxsize=_SCENES)(lambda index: scene(TRAIN_SEED + index, size))

    def __len__(self) -> int:
        return _SCENES * _VISITS

    def __getitem__(self, index: int) -> tuple[Plane, Plane]:
        """An image, uint8 [H, W, 3], and its mask, uint8 [H, W]."""
        image, mask = self._scene(index % _SCENES)
        step = int(self._rng.choice((-1, 1)))
        return image[:, ::step], mask[:, ::step]


def _collate(scenes: Sequence[tuple[Plane, Plane]], stride: int) -> dict[str, Any]:
    """Stack scenes at 1/stride of their size.

    Returns `pixel_values`, float32 [N, 3, h, w], and `labels`, int64 [N, h, w].
    """
    import torch

    images = torch.from_numpy(np.stack([image for image, _ in scenes])).permute(0, 3, 1, 2) / 255
    masks = torch.from_numpy(np.stack([mask for _, mask in scenes])[:, ::stride, ::stride].astype(np.int64))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    small = torch.nn.functional.avg_pool2d(images, stride, ceil_mode=True)
    return {"pixel_values": (small - mean) / deviation, "labels": masks}


def _network() -> SegformerForSemanticSegmentation:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=list(_WIDTHS),
            depths=list(_DEPTHS),
            num_attention_heads=[width // 32 for width in _WIDTHS],
            decoder_hidden_size=_HEAD,
            # Two minutes underfit: everything that regularises would only slow the start.
            initializer_range=_INIT,
            drop_path_rate=0.0,
            classifier_dropout_prob=0.0,
            id2label=dict(enumerate(LABELS)),
            label2id={name: index for index, name in enumerate(LABELS)},
        )
    )


def _loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    import torch
    from torch.nn import functional

    logits = functional.interpolate(outputs.logits, labels.shape[-2:], mode="bilinear", align_corners=False)
    return functional.cross_entropy(logits, labels, weight=torch.tensor(_WEIGHTS, device=logits.device))


def _rate(spent: float) -> float:
    """Learning rate as a share of its peak: a linear warm-up, then a polynomial down to 0."""
    return min(1.0, spent / _WARM_UP + 0.01) * float((1 - spent) ** 0.9)


def _time_limit(budget: _Budget, on_progress: Callable[[float, str], None] | None) -> TrainerCallback:
    """A callback that stops the training when the time is spent, and reports about a hundred times."""
    from transformers import TrainerCallback

    class TimeLimit(TrainerCallback):  # type: ignore[misc]
        reported = -1.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            spent = budget.spent()
            control.should_training_stop = spent >= 1
            if on_progress is not None and (spent >= 1 or spent - self.reported >= 0.01):
                self.reported = spent
                on_progress(spent, f"step {state.global_step}")

    return TimeLimit()


def _processor(size: Size) -> Any:
    return image_processor_class()(
        do_resize=False,
        size={"height": size[0], "width": size[1]},
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
        do_reduce_labels=False,
    )
