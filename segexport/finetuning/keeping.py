"""What a training leaves on disk while it runs: checkpoints to go on from, and the best weights so far.

A checkpoint counts once its marker is there, which is written last; so a training killed at any moment goes on from the
newest one that is whole. The best weights stand in folders of their own, renamed into place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from segexport.errors import ContractError
from segexport.files import new_folder, write_file
from segexport.finetuning.trainer import Training

MARKER = "segexport-checkpoint.json"
METRICS = "metrics.json"

Told = Callable[[float, str], None]
"""Called with the share of a training that is done, and a line about it."""


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a training; None before the first."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{MARKER}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def share_of(checkpoint: Path) -> float:
    """The share of the training that was done when it was written."""
    return float(json.loads((checkpoint / MARKER).read_text())["share"])


def best(folder: Path) -> tuple[Path, dict[str, float]] | None:
    """The folder of the weights with the best mIoU so far, and their metrics; the earlier of two equal ones."""
    found = [(path.parent, json.loads(path.read_text())) for path in folder.glob(f"best-*/{METRICS}")]
    return max(found, key=lambda one: (one[1].get("miou", -1.0), -one[1]["step"]), default=None)


def clear(folder: Path) -> None:
    """Remove what only an unfinished training needs."""
    for pattern in ("checkpoint-*", "best-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path)


@cache
def callback_class() -> Any:
    """The Trainer's callback, made on first use: transformers is imported late."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]
        """Decides when to validate and to save; keeps average, marker and best weights; ends what has had its time."""

        def __init__(
            self, training: Training, wait: Callable[[], None], evaluations: int, save_every: int, told: Told
        ) -> None:
            self._training, self._wait, self._told = training, wait, told
            self._evaluations, self._save_every = evaluations, save_every
            self._last = 0.0
            self._loss: float | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._last = self._training.schedule.share(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self._training.average is not None:
                self._training.average.update(state.global_step)
            share = self._training.schedule.share(state.global_step)
            control.should_training_stop |= share >= 1
            control.should_evaluate = int(share * self._evaluations) > int(self._last * self._evaluations)
            self._last = share
            control.should_save = control.should_evaluate or state.global_step % self._save_every == 0
            if state.is_world_process_zero:
                loss = "" if self._loss is None else f", loss {self._loss:.3f}"
                self._told(share, f"step {state.global_step}{loss}")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if not abs(loss) < float("inf"):
                raise ContractError(
                    f"the loss is {loss} at step {state.global_step}: go on with a lower --learning-rate, or with "
                    "--autocast off"
                )
            self._loss = loss

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **_: Any
        ) -> None:
            if not state.is_world_process_zero:
                return
            found = {k.removeprefix("eval_"): v for k, v in (metrics or {}).items() if k.startswith("eval_")}
            miou = found.get("miou", -1.0)
            self._told(self._training.schedule.share(state.global_step), f"step {state.global_step}, mIoU {miou:.2%}")
            folder = Path(args.output_dir)
            before = best(folder)
            if before is not None and before[1].get("miou", -1.0) >= miou:
                return
            target = folder / f"best-{state.global_step}"
            with new_folder(target, overwrite=True, marker=METRICS) as partial:
                model.save_pretrained(partial)
                facts = {**found, "miou": miou, "step": state.global_step}
                write_file(partial / METRICS, (json.dumps(facts, indent=2) + "\n").encode())
            if before is not None and before[0] != target:
                shutil.rmtree(before[0])

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if state.is_world_process_zero and self._training.average is not None:
                self._training.average.save(folder)
            self._wait()  # every process has its random state there
            if state.is_world_process_zero:
                facts = {"step": state.global_step, "share": self._training.schedule.share(state.global_step)}
                write_file(folder / MARKER, (json.dumps(facts) + "\n").encode())

    return Keeper
