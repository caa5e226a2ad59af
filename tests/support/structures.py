"""SegFormers of other shapes than the published ones: each differs from the tiny one in what its name says."""

from __future__ import annotations

import dataclasses

from segexport.segformer import Structure
from tests.support.checkpoints import TINY

STRUCTURES: dict[str, Structure] = {
    "tiny": TINY,
    "strides of 2": dataclasses.replace(TINY, strides=(2, 2, 2, 2)),
    "stride 3, patch 5": dataclasses.replace(TINY, strides=(3, 2, 1, 2), patches=(5, 3, 3, 5)),
    "an even patch": dataclasses.replace(TINY, patches=(4, 2, 3, 3)),
    "patch 1": dataclasses.replace(TINY, strides=(4, 2, 2, 2), patches=(7, 1, 3, 1)),
    "other reductions": dataclasses.replace(TINY, reductions=(4, 3, 1, 2)),
    "other heads": dataclasses.replace(TINY, heads=(2, 4, 1, 8)),
    "other ratios": dataclasses.replace(TINY, mlp_ratios=(2, 1, 3, 5)),
    "three stages": Structure(
        depths=(2, 1, 3),
        widths=(12, 20, 36),
        heads=(3, 2, 4),
        reductions=(4, 2, 1),
        mlp_ratios=(4, 2, 3),
        patches=(7, 3, 3),
        strides=(4, 2, 2),
        head="segmentation",
        decoder=24,
        classes=5,
    ),
    "gray": dataclasses.replace(TINY, channels=1),
    "five channels": dataclasses.replace(TINY, channels=5),
    "one class": dataclasses.replace(TINY, classes=1),
    "ReLU": dataclasses.replace(TINY, activation="relu"),
    "classifier": dataclasses.replace(TINY, head="classification", decoder=None, classes=7),
    "classifier, patch 5": dataclasses.replace(
        TINY, head="classification", decoder=None, classes=3, patches=(5, 3, 3, 3), strides=(3, 2, 2, 2)
    ),
}
