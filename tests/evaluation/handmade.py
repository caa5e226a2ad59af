"""Evaluations made by hand: class maps drawn at random, recorded as a run records them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segexport.datasets import Sample
from segexport.evaluation import records
from segexport.evaluation.condition import CLEAN, Condition
from segexport.evaluation.folder import EvaluationFolder, Shard, open_folder
from segexport.evaluation.writer import RecordWriter

CLASSES = ("sky", "road", "car", "never")
SIZE = (12, 10)


def facts(name: str, kind: str = "bundle", *, random_weights: bool = False, weights: str = "w") -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "engine": "pytorch" if kind == "pytorch" else "onnxruntime",
        "version": "1",
        "precision": "fp32",
        "weights_sha256": weights,
        "sha256": weights,
        "random_weights": random_weights,
        "size": [64, 96],
        "protocol": "whole image",
    }


def settings(
    images: int,
    subjects: Sequence[dict[str, Any]],
    conditions: Sequence[Condition] = (CLEAN,),
    *,
    shards: int = 1,
    boundary: bool = True,
    bands: int | None = None,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "subjects": list(subjects),
        "data": {"path": "somewhere", "split": None, "images": images, "sha256": "0" * 64},
        "classes": list(CLASSES),
        "conditions": [{"corruption": c.corruption, "severity": c.severity} for c in conditions],
        "boundary": boundary,
        "bands": bands,
        "columns": None,
        "seed": 3,
        "shards": shards,
        "versions": {"python": "3.11", "numpy": "2"},
    }


def truth_and_found(index: int, condition: int, subject: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask of three classes and ignored pixels, and a class map that is wrong more often in later conditions."""
    rng = np.random.default_rng([7, index])
    truth = rng.choice([0, 1, 2, 255], SIZE, p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
    noise = np.random.default_rng([8, index, subject])
    wrong = noise.random(SIZE) < 0.1 * (1 + condition) + 0.02 * subject * condition
    found = np.where(wrong, noise.integers(0, 3, SIZE), np.where(truth == 255, 0, truth)).astype(np.uint8)
    return truth, found


def sample(index: int) -> Sample:
    image = np.full((*SIZE, 3), 10 + 5 * index % 200, np.uint8)
    return Sample(f"image{index}", image, truth_and_found(index, 0, 0)[0], {"city": "ABC"[index % 3]})


def entry(made: dict[str, Any], index: int, number: int) -> dict[str, Any]:
    conditions = [Condition(c["corruption"], c["severity"]) for c in made["conditions"]]
    scores = []
    for subject in range(len(made["subjects"])):
        truth, found = truth_and_found(index, number, subject)
        boundary, bands = made["boundary"] and number == 0, made["bands"] if number == 0 else None
        scores.append(records.score(truth, found, len(CLASSES), boundary=boundary, bands=bands))
    return records.line(index, number, conditions[number], sample(index), scores)


def write(path: Path, made: dict[str, Any], bad: Sequence[int] = ()) -> EvaluationFolder:
    """A whole evaluation in `path`."""
    folder, _ = open_folder(path, made)
    for number in range(1, made["shards"] + 1):
        shard = Shard(number, made["shards"])
        with RecordWriter(folder, shard) as writer:
            for index in shard.indices(made["data"]["images"]):
                if index in bad:
                    writer.append(records.bad_line(index, 0, f"image{index} is broken"))
                    continue
                for condition in range(len(made["conditions"])):
                    writer.append(entry(made, index, condition))
    return folder
