"""A training step of segexport's Trainer beside one of the same Trainer with transformers' own forward and loss.

    python benchmarks/training_step.py [--steps 5] [--threads 2]

Both train SegFormer B0 on the same batches in fp32 with dropout off, step by step in turn: forward, loss, backward,
AdamW. Printed are medians, the ratio, and by how much the losses of the steps differ at most.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import tempfile
import time
from typing import Any

import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation, TrainingArguments

from segexport import machine
from segexport.finetuning.head import commute
from segexport.finetuning.recipe import PAPER
from segexport.finetuning.schedule import Schedule
from segexport.finetuning.trainer import Training, trainer_class
from segexport.weights import quiet_transformers

CASES = ((11, (360, 480), 4), (19, (512, 512), 2), (150, (512, 512), 2))
"""Classes, crop and batch: CamVid, Cityscapes at half its size, ADE20K."""


def trainers(classes: int, folder: str) -> dict[str, Any]:
    """The same B0 twice: as transformers has it, and as segexport trains it."""

    class Plain(trainer_class()):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return model(**inputs).loss

    torch.manual_seed(0)
    config = SegformerConfig(num_labels=classes, drop_path_rate=0.0, classifier_dropout_prob=0.0)
    plain = SegformerForSemanticSegmentation(config)
    ours = copy.deepcopy(plain)
    commute(ours)
    arguments = TrainingArguments(folder, use_cpu=True, report_to=[], disable_tqdm=True, max_steps=1000)
    recipe = dataclasses.replace(PAPER, steps=1000)
    found = {}
    for name, kind, model in (("transformers", Plain, plain), ("segexport", trainer_class(), ours)):
        found[name] = kind(Training(recipe, Schedule(recipe), None, None, None), model=model, args=arguments)
        found[name].create_optimizer()
        found[name].current_gradient_accumulation_steps = 1
    return found


def step(trainer: Any, batch: dict[str, torch.Tensor]) -> float:
    """One step; the loss."""
    loss = trainer.training_step(trainer.model, dict(batch))
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return float(loss)


def main() -> None:
    """Run every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine.cores())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine.processor()}, {options.threads} threads, torch {torch.__version__}")
    print("| classes | crop | batch | transformers s | segexport s | ratio | losses differ by |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for classes, (height, width), images in CASES:
        with tempfile.TemporaryDirectory() as folder, quiet_transformers():
            both = trainers(classes, folder)
        seconds: dict[str, list[float]] = {name: [] for name in both}
        apart = 0.0
        generator = torch.Generator().manual_seed(1)
        for number in range(options.steps + 1):
            batch = {
                "pixel_values": torch.randn(images, 3, height, width, generator=generator),
                # Blobs of 8 pixels, as masks have them, and some that are ignored.
                "labels": torch.randint(0, classes, (images, height // 8, width // 8), generator=generator)
                .repeat_interleave(8, 1)
                .repeat_interleave(8, 2),
            }
            batch["labels"][:, :16] = 255
            losses = {}
            for name, trainer in both.items():
                start = time.perf_counter()
                losses[name] = step(trainer, batch)
                if number:  # the first one warms up
                    seconds[name].append(time.perf_counter() - start)
            apart = max(apart, abs(losses["transformers"] - losses["segexport"]))
        plain, ours = (statistics.median(seconds[name]) for name in ("transformers", "segexport"))
        print(
            f"| {classes} | {height}x{width} | {images} | {plain:.2f} | {ours:.2f} | {plain / ours:.2f} | {apart:.0e} |",  # noqa: E501
            flush=True,
        )


if __name__ == "__main__":
    main()
