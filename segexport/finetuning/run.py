"""Fine-tuning from end to end: data and start in, a checkpoint folder with its card out."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexport import machine
from segexport.datasets import LabelledImages, Subset
from segexport.datasets.summary import DataSummary
from segexport.errors import ContractError, DataError, EngineUnavailable, OutputError
from segexport.files import require_absent, write_file
from segexport.finetuning import keeping
from segexport.finetuning.averaging import Average
from segexport.finetuning.batches import Collate, training_set, validation_set
from segexport.finetuning.finish import METRICS, Score, finish
from segexport.finetuning.hardware import choose_autocast, on_gpu
from segexport.finetuning.head import commute
from segexport.finetuning.recipe import PAPER, Recipe
from segexport.finetuning.schedule import Schedule
from segexport.finetuning.scoring import ComputeMetrics
from segexport.finetuning.start import Start, start
from segexport.finetuning.task import (
    Task,
    class_weights,
    introduction,
    make_task,
    read_images,
    read_labels,
    settings_of,
)
from segexport.finetuning.trainer import Training, trainer_class
from segexport.finetuning.transforms import Augmentation
from segexport.finetuning.visits import Visits
from segexport.spec import Size
from segexport.weights import INSTALL, image_processor_class, quiet_transformers, require_training

SETTINGS = "training.json"
_TIMELESS = 10**6
"""Steps that no training of `minutes` gets to."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training: its folder, the scores of what is in it, and what was logged on the way."""

    folder: Path
    score: Score | None
    history: tuple[dict[str, Any], ...]


def finetune(
    data: str | Path,
    out: str | Path,
    *,
    model: str = "nvidia/mit-b0",
    revision: str | None = None,
    random_init: bool = False,
    classes: str | Path | None = None,
    val: str | Path | None = None,
    val_fraction: float | None = None,
    val_limit: int | None = None,
    limit: int | None = None,
    recipe: Recipe = PAPER,
    epochs: float | None = None,
    size: Size | None = None,
    crop: Size | None = None,
    evaluations: int = 10,
    save_every: int = 1000,
    workers: int | None = None,
    skip_bad: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    seen: Callable[[DataSummary], None] = lambda summary: None,
    tell: Tell = lambda line: None,
    told: keeping.Told = lambda share, text: None,
) -> Trained:
    """Train a SegFormer on labelled images, on one process or on as many as torchrun or `accelerate launch` starts.

    Args:
        data: labelled images in any layout that `open_data` knows; their `train` split if they have splits.
        out: gets the checkpoint (as `save_pretrained` writes it), a model card, settings, metrics and TensorBoard logs.
        model: where to start: an encoder or a whole SegFormer, as `segexport.load` takes it.
        revision: of a model on the hub.
        random_init: only the architecture of `model`, with random weights.
        classes: a file of class names, where the data have none of their own.
        val: images to validate on; the data's `val` split if not given, else every so many of the training images.
        val_fraction: share of the training images to put by for validation, where there are no others (0.1).
        val_limit: images that are validated on while training; the last scores are always of all of them.
        limit: the first so many training images only.
        recipe: how to train.
        epochs: passes over the images, in place of the recipe's steps.
        size: height and width of the network, which whole images are brought to; see `choose_sizes`.
        crop: height and width of what is trained on, cut from images of the network's shorter side.
        evaluations: how often to validate.
        save_every: steps between checkpoints to resume from; there is one at each validation, too.
        workers: processes that read images; as many as cores, at most 8, on a GPU, and none on a CPU, if None.
        skip_bad: train on the next image where one cannot be read.
        resume: go on with the training in `out`, or start it.
        overwrite: replace a training that stands there.
        seen: called with what the training images hold, before anything is trained.
        tell: called with lines about the start and the sizes.
        told: called with the share of the training that is done, and a line of text.

    Raises:
        CheckpointError, ContractError, DataError, EngineUnavailable, OutputError: see `segexport.errors`.
    """
    require_training()
    _require_possible(recipe, epochs)
    out = Path(out)
    autocast = choose_autocast(recipe.autocast)
    main = os.environ.get("RANK", "0") == "0"
    if main and not resume:
        require_absent(out, overwrite, marker=SETTINGS)
    say: Tell = tell if main else (lambda line: None)
    labels = read_labels(Path(data), None if classes is None else Path(classes))
    images, validation = read_images(
        Path(data), labels, None if val is None else Path(val), val_fraction, limit, recipe.seed
    )
    if epochs is not None:
        recipe = dataclasses.replace(recipe, steps=max(1, math.ceil(epochs * len(images) / recipe.batch)))
    begun = start(
        model,
        labels,
        random_init=random_init,
        revision=revision,
        seed=recipe.seed,
        classifier_dropout=recipe.dropout,
        drop_path=recipe.drop_path,
    )
    task = make_task(images, validation, labels, begun, recipe, size, crop)
    if main:
        seen(task.summary)
    for line in introduction(task, begun, autocast):
        say(line)
    settings = settings_of(task, begun)
    arguments = _arguments(out, recipe, autocast, workers)
    if main:
        _prepare(out, settings, resume, overwrite)
    arguments.distributed_state.wait_for_everyone()
    steps, history = _train(task, begun, arguments, evaluations, save_every, val_limit, skip_bad, told)
    score = None
    if main:
        score = finish(out, task.labels, validation, _processor(task, begun), settings, steps, history, say, told)
    arguments.distributed_state.wait_for_everyone()
    return Trained(out, score, history)


def _train(
    task: Task,
    begun: Start,
    arguments: Any,
    evaluations: int,
    save_every: int,
    val_limit: int | None,
    skip_bad: bool,
    told: keeping.Told,
) -> tuple[int, tuple[dict[str, Any], ...]]:
    """Train, from the newest checkpoint if there is one; the steps that were trained, and what was logged."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    recipe, out = task.recipe, Path(arguments.output_dir)
    checkpoint = keeping.newest(out)
    schedule = Schedule(recipe)
    processor = _processor(task, begun)
    commute(begun.model)
    training = Training(
        recipe,
        schedule,
        class_weights(task) if recipe.class_weights == "sqrt" else None,
        Average(begun.model, recipe.ema) if recipe.ema is not None else None,
        Collate(processor, task.sizes.network),
    )
    if checkpoint is not None and training.average is not None:
        training.average.load(checkpoint)
    red, green, blue = (round(255 * mean) for mean in begun.preprocessing.mean)
    augmentation = Augmentation(task.sizes.crop, task.sizes.short_side, (red, green, blue), recipe)
    visits = Visits(task.images, augmentation, schedule, recipe.batch, skip_bad)
    keeper = keeping.callback_class()(
        training, arguments.distributed_state.wait_for_everyone, evaluations, save_every, told
    )
    with quiet_transformers():
        trainer = trainer_class()(
            training,
            model=begun.model,
            args=arguments,
            train_dataset=training_set(visits, arguments.max_steps * recipe.batch),
            eval_dataset=validation_set(_some(task.validation, val_limit)),
            data_collator=Collate(processor),
            compute_metrics=ComputeMetrics(task.labels.names),
            callbacks=[keeper],
        )
        # Read by now; transformers 4.57 would leave it to the next training of this process, whatever that asks for.
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        schedule.begin(0.0 if checkpoint is None else keeping.share_of(checkpoint))
        if checkpoint is None or keeping.share_of(checkpoint) < 1:
            try:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            except DataError as error:
                # A process that reads images sends its traceback along.
                *_, line = str(error).strip().splitlines()
                raise DataError(
                    f"{line.partition('DataError: ')[2] or line} (then go on with --resume, or pass --skip-bad)"
                ) from error
        else:  # killed between the last step and the end
            trainer.state = type(trainer.state).load_from_json(str(checkpoint / "trainer_state.json"))
    return int(trainer.state.global_step), tuple(trainer.state.log_history)


def _arguments(out: Path, recipe: Recipe, autocast: str, workers: int | None) -> Any:
    from transformers import TrainingArguments

    gpu = on_gpu()
    return TrainingArguments(
        output_dir=str(out),
        use_cpu=not gpu,
        max_steps=_TIMELESS if recipe.minutes is not None else recipe.steps,
        per_device_train_batch_size=max(1, recipe.batch // (recipe.accumulate * _processes())),
        per_device_eval_batch_size=1,  # images may differ in size
        gradient_accumulation_steps=recipe.accumulate,
        max_grad_norm=recipe.clip,
        bf16=autocast == "bf16",
        fp16=autocast == "fp16",
        seed=recipe.seed,
        dataloader_num_workers=(min(8, machine.cores()) if gpu else 0) if workers is None else workers,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        batch_eval_metrics=True,
        eval_strategy="no",  # keeping.Keeper says when
        save_strategy="no",
        save_total_limit=2,  # the newest may be half written
        logging_steps=max(1, min(50, recipe.steps // 20)),
        logging_nan_inf_filter=False,
        report_to=["tensorboard"],
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )


def _processes() -> int:
    """Processes of this training, as torchrun and `accelerate launch` tell them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _require_possible(recipe: Recipe, epochs: float | None) -> None:
    if epochs is not None and (recipe.steps != PAPER.steps or recipe.minutes is not None):
        raise ContractError("--epochs, --steps and --minutes all say how long to train: pass one of them")
    if recipe.minutes is not None and recipe.steps != PAPER.steps:
        raise ContractError("--steps and --minutes both say how long to train: pass one of them")
    if epochs is not None and not epochs > 0:
        raise ContractError(f"--epochs {epochs} trains nothing: pass a number above 0")
    missing = [name for name in ("datasets", "tensorboard") if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineUnavailable(f"{missing[0]} is needed to train and is not installed: {INSTALL}")
    shares = recipe.accumulate * _processes()
    if recipe.batch % shares:
        raise ContractError(
            f"a batch of {recipe.batch} cannot be shared by {_processes()} processes and --accumulate "
            f"{recipe.accumulate}: pass a --batch that is a multiple of {shares}"
        )
    if recipe.minutes is not None and _processes() > 1:
        raise ContractError("--minutes ends each process by its own clock: pass --steps to train with several")


def _prepare(out: Path, settings: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Make the folder ready: new, emptied, or that of the same training.

    Raises:
        OutputError: it holds another training, or one that is finished.
    """
    path = out / SETTINGS
    if resume and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        differs = [
            name
            for name in settings
            if name != "versions" and json.loads(json.dumps(settings[name])) != before.get(name)
        ]
        if differs:
            raise OutputError(
                f"{out} holds a training with other {' and '.join(differs)}: pass the same options to go on with it, "
                "or --overwrite to begin anew"
            )
        if (out / METRICS).exists() and keeping.newest(out) is None:
            raise OutputError(f"the training in {out} is finished: nothing is left to resume")
        return
    if resume and out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} holds no training to resume: pass another --out")
    if overwrite and out.exists():
        shutil.rmtree(out)
    write_file(path, (json.dumps(settings, indent=2) + "\n").encode())


def _processor(task: Task, begun: Start) -> Any:
    """The processor that training uses and that ships with the checkpoint; the start's mean and std are kept."""
    height, width = task.sizes.network
    return image_processor_class()(
        do_resize=True,
        size={"height": height, "width": width},
        image_mean=list(begun.preprocessing.mean),
        image_std=list(begun.preprocessing.std),
        do_reduce_labels=task.labels.reduce,
    )


def _some(images: LabelledImages, limit: int | None) -> LabelledImages:
    if limit is None or limit >= len(images):
        return images
    spread = np.linspace(0, len(images) - 1, limit).round().astype(int).tolist()
    return Subset(images, spread, f"{limit} of {len(images)}")
