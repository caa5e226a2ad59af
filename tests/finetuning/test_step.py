"""The faster training step is the same training: losses of the same Trainer with transformers' own forward."""

import copy
import dataclasses

import pytest

from segexport import scenes
from segexport.datasets import open_data
from segexport.finetuning.recipe import PAPER
from segexport.palette import palette_for
from segexport.spec import Labels
from tests.support.training import CONFIG, write_scenes

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def losses(trainer_class, model, data, out):
    """Of 20 steps of batch 2."""
    from segexport.finetuning.batches import Collate, training_set
    from segexport.finetuning.schedule import Schedule
    from segexport.finetuning.trainer import Training
    from segexport.finetuning.transforms import Augmentation
    from segexport.finetuning.visits import Visits
    from segexport.weights import image_processor_class, quiet_transformers

    recipe = dataclasses.replace(PAPER, steps=20, batch=2, learning_rate=1e-3)
    images = open_data(data, Labels(tuple(scenes.LABELS), palette_for(scenes.LABELS)), split="train")
    visits = Visits(images, Augmentation((64, 64), 64, (124, 116, 104), recipe), Schedule(recipe), 2, False)
    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        use_cpu=True,
        max_steps=20,
        per_device_train_batch_size=2,
        max_grad_norm=0.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    with quiet_transformers():
        trainer = trainer_class(
            Training(recipe, Schedule(recipe), None, None, None),
            model=model,
            args=arguments,
            train_dataset=training_set(visits, 40),
            data_collator=Collate(image_processor_class()()),
        )
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_same_losses_over_20_steps(tmp_path):
    from segexport.finetuning.head import commute
    from segexport.finetuning.trainer import trainer_class

    class Plain(trainer_class()):
        """transformers' own forward and loss."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(**inputs).loss

    data = write_scenes(tmp_path / "data")
    options = {k: v for k, v in CONFIG.items() if k not in ("model_type", "architectures")}
    config = transformers.SegformerConfig(
        **options, num_labels=10, drop_path_rate=0.0, classifier_dropout_prob=0.0, semantic_loss_ignore_index=255
    )
    plain = transformers.SegformerForSemanticSegmentation(config)
    ours = copy.deepcopy(plain)
    commute(ours)
    expected = losses(Plain, plain, data, tmp_path / "plain")
    found = losses(trainer_class(), ours, data, tmp_path / "ours")
    assert len(expected) == 20
    assert expected[-1] < 0.95 * expected[0]  # something is learned
    assert found == pytest.approx(expected, abs=1e-4)
