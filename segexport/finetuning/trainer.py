"""Hugging Face's Trainer, told how SegFormer is trained: whose rate is which, what the loss is, what is validated.

Processes, machines, mixed precision, accumulation, logs and checkpoints are the Trainer's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexport.errors import OutputError
from segexport.finetuning.averaging import Average
from segexport.finetuning.loss import segmentation_loss
from segexport.finetuning.recipe import Recipe
from segexport.finetuning.schedule import Schedule
from segexport.finetuning.scoring import confusion
from segexport.segformer.names import DECODE_HEAD
from segexport.weights import quiet_transformers

if TYPE_CHECKING:
    import torch

HEAD = f"{DECODE_HEAD}."


@dataclass
class Training:
    """What the trainer is given beyond its own arguments.

    Attributes:
        weights: of the classes in the loss, float32 [classes]; None weighs all alike.
        average: of the model's weights; None keeps none.
        collate: makes batches of whole images.
    """

    recipe: Recipe
    schedule: Schedule
    weights: torch.Tensor | None
    average: Average | None
    collate: Any


def parameter_groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups: the head at its own rate, and no decay on norms and biases (all that has one dimension)."""
    groups: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith(HEAD), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.learning_rate * (recipe.head_factor if head else 1.0),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (head, decays), parameters in groups.items()
    ]


@cache
def trainer_class() -> Any:
    """The Trainer's subclass, made on first use: transformers is imported late."""
    import torch
    from transformers import Trainer

    class SegformerTrainer(Trainer):  # type: ignore[misc]
        def __init__(self, training: Training, **options: Any) -> None:
            super().__init__(**options)
            self.training = training
            self.model_accepts_loss_kwargs = False  # micro-batches are averaged, whatever they hold

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

        data_collator: Any

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            crops, self.data_collator = self.data_collator, self.training.collate
            try:
                return super().get_eval_dataloader(eval_dataset)
            finally:
                self.data_collator = crops

        def create_optimizer(self, model: Any = None) -> Any:
            groups = parameter_groups(self.model if model is None else model, self.training.recipe)
            self.optimizer = torch.optim.AdamW(groups, fused=True)
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer if optimizer is None else optimizer, self.training.schedule.rate
            )
            return self.lr_scheduler

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            outputs = model(pixel_values=inputs["pixel_values"])
            weights = self.training.weights
            loss = segmentation_loss(
                outputs.logits,
                inputs["labels"],
                None if weights is None else weights.to(outputs.logits.device),
                ohem=self.training.recipe.ohem,
            )
            return (loss, outputs) if return_outputs else loss

        def prediction_step(
            self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
        ) -> tuple[Any, Any, Any]:
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad():
                logits = model(pixel_values=inputs["pixel_values"]).logits
                found = confusion(logits, inputs["labels"])
            return None, found, torch.zeros(len(found), device=found.device)

        def evaluate(self, *arguments: Any, **options: Any) -> Any:
            average = self.training.average
            with average.in_place() if average is not None else nullcontext():
                return super().evaluate(*arguments, **options)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # transformers 5 saves SegFormer under the names of 4, and its Trainer would find none of them when it
            # loads; from_pretrained knows both.
            target = self.model if model is None else model
            with quiet_transformers():  # the Trainer has made transformers loud again
                saved = type(target).from_pretrained(resume_from_checkpoint, local_files_only=True)
            target.load_state_dict(saved.state_dict())

        def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
            try:
                super()._save_checkpoint(*arguments, **options)
            except Exception as error:
                folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
                shutil.rmtree(folder, ignore_errors=True)
                raise OutputError(
                    f"{folder} could not be saved ({_first_line(error)}): make room, then go on with --resume"
                ) from error

    return SegformerTrainer


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
